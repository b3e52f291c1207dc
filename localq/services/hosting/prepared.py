"""Which file is to be loaded, and how."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from localq.engine.settings import LoadSettings
from localq.errors import LibraryError, LocalqError, StorageError, UnsupportedError
from localq.formats.gguf import read_gguf
from localq.library import Library, Model
from localq.planning.offload_plan import OffloadPlan, PlanOptions
from localq.services.library.locate import locate_gguf
from localq.services.library.writes_text import check_writes_text
from localq.services.machine.plan import (
    check_plan,
    load_settings,
    plan_gguf,
    unplanned_settings,
)

__all__ = ["PreparedModel", "prepare_model"]


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """A model and the settings to load it with; `metadata` is its file's.

    `plan` None: what the model takes cannot be told, and the user insisted. `problem`: why the
    library could not be asked for what is saved and measured; a file can run without it.
    """

    model: Model
    metadata: Mapping[str, object]
    settings: LoadSettings
    plan: OffloadPlan | None
    problem: LocalqError | None = None


def prepare_model(
    library: Library,
    model: str | None,
    plan_options: PlanOptions | None = None,
    *,
    force: bool = False,
    cancel: threading.Event | None = None,
) -> PreparedModel:
    """Find a model of the library, or a .gguf file, and plan it; None: the one used last.

    `plan_options` go before those saved for the model. NotFoundError, BadFileError, UsageError (an
    option makes no sense), UnsupportedError (it writes no text, or what it takes cannot be told),
    EngineError (it cannot fit), Cancelled. `force` loads what cannot fit or be told.
    """
    found = locate_gguf(library, model)
    file = read_gguf(found.path)
    check_writes_text(found, file)
    plan_options = plan_options or PlanOptions()
    problem: LocalqError | None = None
    try:
        try:
            planned = plan_gguf(library, found, file, plan_options, cancel=cancel)
        except (LibraryError, StorageError) as error:
            problem = error
            planned = plan_gguf(None, found, file, plan_options, cancel=cancel)
    except UnsupportedError as error:
        if not force:
            hint = error.hint or "--force lets the engine try"
            raise UnsupportedError(error.message, hint=hint) from None
        settings = replace(
            unplanned_settings(found.path, plan_options), state_folder=_states(library)
        )
        return PreparedModel(found, file.metadata, settings, None, problem)
    if not force:
        check_plan(planned)
    settings = replace(
        load_settings(found.path, planned.plan),
        adapt_threads=planned.plan_options.n_threads is None,
        state_folder=_states(library),
    )
    return PreparedModel(found, file.metadata, settings, planned.plan, problem)


def _states(library: Library) -> Path:
    """What conversations had in memory, so that they go on after a restart."""
    return library.paths.cache / "states"
