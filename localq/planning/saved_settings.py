"""What users decided for a model once and for all."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, fields
from typing import get_type_hints

from localq.database import Database
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
        given = {key: value for key, value in asdict(plan_options).items() if value is not None}
        with self.database.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO saved_wishes (model, wishes, saved_at) VALUES (?, ?, ?)",
                (model.casefold(), json.dumps(given, sort_keys=True), time.time()),
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
    return PlanOptions(**{**_given(second), **_given(first)})  # type: ignore[arg-type]


def _given(plan_options: PlanOptions) -> dict[str, object]:
    return {key: value for key, value in asdict(plan_options).items() if value is not None}


def _decoded(text: object) -> PlanOptions:
    """The options of a row; what is none of ours, or of another type, is left out."""
    try:
        decoded = json.loads(str(text))
    except ValueError:
        return PlanOptions()
    if not isinstance(decoded, dict):
        return PlanOptions()
    hints = get_type_hints(PlanOptions)
    good = {}
    for field in fields(PlanOptions):
        value = decoded.get(field.name)
        if type(value) in (int, bool, str) and type(value) in hints[field.name].__args__:
            good[field.name] = value
    return PlanOptions(**good)
