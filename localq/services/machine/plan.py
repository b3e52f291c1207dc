"""How a model will be loaded on this machine."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from localq.database import Database
from localq.engine.rpc import rpc_servers
from localq.engine.settings import FlashAttention, LoadSettings
from localq.errors import EngineError, UsageError
from localq.formats.adapter import read_adapter
from localq.formats.gguf import GGUFFile, read_gguf
from localq.formats.gguf_split import read_shards
from localq.formats.projector import read_projector
from localq.hardware.detect import detect
from localq.hardware.machine import LocalMachine
from localq.hardware.profile import HardwareProfile
from localq.library import Library, Model
from localq.messages import msg
from localq.planning.model_shape import ModelShape, read_shape
from localq.planning.offload_plan import OffloadPlan, PlanOptions
from localq.planning.plan import make_plan
from localq.planning.projector_memory import projector_bytes
from localq.planning.saved_settings import SavedPlanOptions, merged
from localq.services.library.locate import locate_gguf
from localq.services.library.projector import find_projector
from localq.services.machine.draft import read_draft
from localq.services.machine.hardware import machine_profile
from localq.services.machine.measured_model import tuned_for

__all__ = [
    "PlannedModel",
    "check_plan",
    "check_plan_options",
    "forget_plan_options",
    "load_settings",
    "plan_gguf",
    "plan_model",
    "planning_profile",
    "save_plan_options",
    "unplanned_settings",
]


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """A plan and what it is for. `saved` are the options that are kept for the model,
    `plan_options` those and the ones of this call."""

    model: Model
    shape: ModelShape
    plan: OffloadPlan
    plan_options: PlanOptions
    saved: PlanOptions
    projector: Path | None = None
    """What lets it see pictures; the plan has room for it."""


def plan_model(
    library: Library,
    model: str | None,
    plan_options: PlanOptions | None = None,
    *,
    profile: HardwareProfile | None = None,
    cancel: threading.Event | None = None,
) -> PlannedModel:
    """Plan a model of the library, or a .gguf file; None: the one used last.

    `plan_options` go before those saved for the model. NotFoundError, BadFileError, UsageError,
    UnsupportedError where the file is no language model or an adapter is none for it, Cancelled.
    """
    found = locate_gguf(library, model)
    return plan_gguf(
        library, found, read_gguf(found.path), plan_options, profile=profile, cancel=cancel
    )


def plan_gguf(
    library: Library | None,
    model: Model,
    file: GGUFFile,
    plan_options: PlanOptions | None = None,
    *,
    profile: HardwareProfile | None = None,
    cancel: threading.Event | None = None,
) -> PlannedModel:
    """The same for a model whose header was read already. What `localq tune` found is used, and
    what was saved for the model; neither without a library."""
    saved = PlanOptions()
    if library:
        saved = SavedPlanOptions(Database(library.paths.database)).of(model.name)
    whole = merged(plan_options or PlanOptions(), saved)
    check_plan_options(whole)
    # The first of several files says how many there are, but has only its own tensors.
    files = read_shards(file.path) if "split.count" in file.fields else (file,)
    tensors = (tensor for part in files for tensor in part.tensors)
    shape = read_shape(file.metadata, tensors, name=model.name)
    machine = profile or planning_profile(cancel)
    tuned = tuned_for(library.paths, file, machine) if library else None
    adapters = [read_adapter(one.path, file.architecture) for one in whole.adapters or ()]
    beside = sum(adapter.size_bytes for adapter in adapters)
    if (projector := find_projector(file)) is not None:
        beside += projector_bytes(read_projector(projector))
    draft = None if whole.draft is None else read_draft(library, whole.draft, file, shape, whole)
    plan = make_plan(
        machine,
        shape,
        whole,
        tuned=tuned,
        beside_bytes=beside,
        draft=draft.shape if draft else None,
    )
    if draft:
        plan = replace(plan, draft=draft.path)
    return PlannedModel(model, shape, plan, whole, saved, projector)


def save_plan_options(library: Library, model: Model, plan_options: PlanOptions) -> PlanOptions:
    """Keep options for a model, besides those kept before; what is kept then. UsageError."""
    saved = SavedPlanOptions(Database(library.paths.database))
    whole = merged(plan_options, saved.of(model.name))
    check_plan_options(whole)
    saved.save(model.name, whole)
    return whole


def forget_plan_options(library: Library, model: Model) -> bool:
    """Whether anything was kept for the model."""
    return SavedPlanOptions(Database(library.paths.database)).forget(model.name)


def check_plan_options(plan_options: PlanOptions) -> None:
    """UsageError names the option that makes no sense."""
    if plan_options.flash_attn not in (None, "auto", "on", "off"):
        raise UsageError(
            msg(
                "flash_attn is {flash_attn!r}; it is auto, on or off",
                flash_attn=plan_options.flash_attn,
            )
        )
    # With "off" quantized values are refused, which is for the plan to say.
    unplanned_settings(Path(), replace(plan_options, flash_attn=None))


def unplanned_settings(path: Path, plan_options: PlanOptions) -> LoadSettings:
    """The options as the engine takes them, and its own choice for the rest. UsageError."""
    given = {name: getattr(plan_options, name) for name in plan_options.__slots__}
    del given["draft"]  # which is found, and looked at, for a plan
    return LoadSettings(path, **{name: one for name, one in given.items() if one is not None})


def check_plan(planned: PlannedModel) -> None:
    """EngineError where the model cannot run so; it says why and what could."""
    plan = planned.plan
    if plan.problem is None:
        return
    hints = "; or ".join(plan.suggestions)
    raise EngineError(
        msg("{name} cannot run here: {problem}", name=planned.model.name, problem=plan.problem),
        hint=msg("{hints}; --force tries it all the same", hints=hints)
        if hints
        else msg("--force tries it all the same"),
    )


def load_settings(path: Path, plan: OffloadPlan) -> LoadSettings:
    """The plan as the engine takes it."""
    return LoadSettings(
        path,
        n_ctx=plan.n_ctx,
        n_threads=plan.n_threads,
        n_threads_batch=plan.n_threads_batch,
        n_gpu_layers=plan.n_gpu_layers,
        tensor_split=plan.tensor_split,
        n_cpu_moe=plan.n_cpu_moe,
        n_batch=plan.n_batch,
        n_ubatch=plan.n_ubatch,
        type_k=plan.type_k,
        type_v=plan.type_v,
        flash_attn=cast(FlashAttention, plan.flash_attn),
        use_mmap=plan.use_mmap,
        use_mlock=plan.use_mlock,
        n_draft=plan.n_draft,
        draft=plan.draft,
        adapters=plan.adapters,
    )


def planning_profile(cancel: threading.Event | None = None) -> HardwareProfile:
    """What plans need of this machine. The engine is asked for its devices only where there is
    something it could use: a process more would be a quarter of a second before each reply."""
    profile = detect(LocalMachine())
    lent = rpc_servers()
    if not (profile.accelerators or lent or profile.system.os == "macos"):
        return profile
    return machine_profile(cancel)
