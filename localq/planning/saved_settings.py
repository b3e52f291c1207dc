"""What users decided for a model once and for all."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace

from localq.database import Database
from localq.json_codec import fitting_fields, to_json
from localq.planning.offload_plan import PlanOptions

__all__ = ["SavedPlanOptions", "merged"]


@dataclass(frozen=True, slots=True)
class SavedPlanOptions:
    """One row of options for each model, by its case-folded name or its path."""

    database: Database

    def of(self, model: str) -> PlanOptions:
        """Those of a model; none where nothing was saved."""
        with self.database.read() as connection:
            if connection is None:
                return PlanOptions()
            row = connection.execute(
                "SELECT wishes FROM saved_wishes WHERE model = ?", (model.casefold(),)
            ).fetchone()
        return _decoded(row[0]) if row else PlanOptions()

    def save(self, model: str, plan_options: PlanOptions) -> None:
        """Keep these in place of those there were."""
        given = json.dumps(to_json(plan_options, defaults=False), sort_keys=True)
        with self.database.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO saved_wishes (model, wishes, saved_at) VALUES (?, ?, ?)",
                (model.casefold(), given, time.time()),
            )

    def forget(self, model: str) -> bool:
        """Whether there was something to forget."""
        if not self.database.exists():
            return False
        with self.database.write() as connection:
            done = connection.execute(
                "DELETE FROM saved_wishes WHERE model = ?", (model.casefold(),)
            )
        return done.rowcount > 0


def merged(first: PlanOptions, second: PlanOptions) -> PlanOptions:
    """`first` where it has an option, else `second`."""
    given = {name: value for name in first.__slots__ if (value := getattr(first, name)) is not None}
    return replace(second, **given)


def _decoded(text: object) -> PlanOptions:
    """The options of a row; what is none of ours, or of another type, is left out."""
    try:
        return PlanOptions(**fitting_fields(PlanOptions, json.loads(str(text))))
    except (ValueError, RecursionError):
        return PlanOptions()
