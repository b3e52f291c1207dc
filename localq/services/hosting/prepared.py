"""Which file is to be loaded, and how."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from localq.engine.settings import LoadSettings, Purpose
from localq.errors import LibraryError, LocalqError, StorageError, UnsupportedError
from localq.formats.gguf import read_gguf
from localq.hardware.profile import HardwareProfile
from localq.library import Library, Model
from localq.planning.offload_plan import OffloadPlan, PlanOptions
from localq.planning.room import Footprint
from localq.services.hosting.budget import footprint_of
from localq.services.library.locate import locate_gguf
from localq.services.library.projector import find_projector
from localq.services.library.writes_text import check_writes_text
from localq.services.machine.plan import (
    check_plan,
    load_settings,
    plan_gguf,
    planning_profile,
    unplanned_settings,
)

__all__ = ["PreparedModel", "prepare_found", "prepare_model"]


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
    plan_options: PlanOptions = field(default_factory=PlanOptions)
    """What was asked for, of which the plan was made."""
    force: bool = False
    """Whether it is loaded even where it cannot fit."""
    footprint: Footprint = field(default_factory=dict)
    """What it will take, by device; nothing where that cannot be told."""

    @property
    def is_in_library(self) -> bool:
        """Whether it has a name there; a file given by its path is named after that."""
        return self.model.name != str(self.model.path)


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
    profile = planning_profile(cancel)
    return prepare_found(library, found, plan_options or PlanOptions(), (profile,), force=force)


def prepare_found(
    library: Library,
    found: Model,
    plan_options: PlanOptions,
    profiles: Sequence[HardwareProfile],
    *,
    purpose: Purpose = "text",
    force: bool = False,
) -> PreparedModel:
    """The same for a model that was found, on the first of the `profiles` that it fits; on the
    last where it fits none, which is an error unless `force` is set. What texts had in memory is
    kept on disk, so that they go on after a restart."""
    file = read_gguf(found.path)
    if purpose == "text":
        check_writes_text(found, file)
    states = library.paths.cache / "states" if purpose == "text" else None
    problem: LocalqError | None = None
    with_library: Library | None = library
    for profile in profiles:
        try:
            try:
                planned = plan_gguf(with_library, found, file, plan_options, profile=profile)
            except (LibraryError, StorageError) as error:
                problem, with_library = error, None
                planned = plan_gguf(None, found, file, plan_options, profile=profile)
        except UnsupportedError as error:
            if not force:
                hint = error.hint or "--force lets the engine try"
                raise UnsupportedError(error.message, hint=hint) from None
            if plan_options.draft is not None:
                raise  # what it takes beside the model cannot be told either
            settings = unplanned_settings(found.path, plan_options)
            settings = replace(
                settings,
                purpose=purpose,
                state_folder=states,
                projector=find_projector(file) if purpose == "text" else None,
            )
            return PreparedModel(
                found, file.metadata, settings, None, problem, plan_options, force=True
            )
        if planned.plan.fits:
            break
    if not force:
        check_plan(planned)
    settings = replace(
        load_settings(found.path, planned.plan),
        purpose=purpose,
        projector=planned.projector if purpose == "text" else None,
        adapt_threads=purpose == "text" and planned.plan_options.n_threads is None,
        state_folder=states,
    )
    return PreparedModel(
        found,
        file.metadata,
        settings,
        planned.plan,
        problem,
        plan_options,
        force,
        footprint_of(planned.plan, profile),
    )
