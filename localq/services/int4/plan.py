"""All that is known of an INT4 quantization before a backend starts."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localq.errors import UnsupportedError
from localq.gpu_quant.backends import Backend, backend_named, environment_of
from localq.gpu_quant.estimate import Int4Estimate, WeightShapes, estimate, weight_shapes
from localq.gpu_quant.gate import check_room, choose_device, warnings
from localq.gpu_quant.options import Int4Options, Method
from localq.hardware import cpu_threads, memory
from localq.hardware.accelerators import accelerators
from localq.hardware.machine import LocalMachine
from localq.library import Library, Model
from localq.library.filenames import safe_component
from localq.messages import msg
from localq.services.int4.request import Int4Request
from localq.services.library.locate import locate_checkpoint
from localq.services.make.destination import existing_folder, repo_of

if TYPE_CHECKING:
    from localq.gpu_quant.environments import Environment

__all__ = ["Int4Plan", "Int4Preflight", "plan_int4", "preflight_int4"]


@dataclass(frozen=True, slots=True)
class Int4Plan:
    """`folder` is where the checkpoint `name` of `source` goes; `device` "cpu" or "cuda"."""

    source: Model
    repo: str
    name: str
    folder: Path
    options: Int4Options
    backend: Backend
    device: str
    samples: int
    estimate: Int4Estimate
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Int4Preflight:
    """What a quantization would do and take, without a backend having started."""

    source: str
    name: str
    path: Path
    device: str
    backend: str
    samples: int
    estimate: Int4Estimate
    installed: bool
    warnings: tuple[str, ...]


def plan_int4(library: Library, request: Int4Request) -> Int4Plan:
    """Refuse, with the reason, what cannot be: options that do not go together, a model that is no
    checkpoint or has no layers of the right shape, a machine without the device or the room."""
    options = request.options()
    backend = backend_named(request.backend, request.method)
    source = locate_checkpoint(library, request.model)
    shapes = _shapes(source, options)
    machine = LocalMachine()
    found = accelerators(machine) if request.device != "cpu" else ()
    device, gpu = choose_device(request.device, found, options, source.name)
    samples = request.samples_on(device)
    needs = estimate(
        shapes,
        options,
        samples=samples,
        length=request.calib_length,
        device=device,
        cores=cpu_threads(),
    )
    repo = repo_of(source)
    parent = library.checkpoint_folder(repo)
    left = memory()
    check_room(
        needs,
        gpu=gpu,
        available_ram=left.available if left else None,
        free_disk=shutil.disk_usage(existing_folder(parent)).free,
        options=options,
        name=source.name,
    )
    return Int4Plan(
        source,
        repo,
        f"{repo}:{options.label}",
        parent / safe_component(f"{parent.name}-{options.label}"),
        options,
        backend,
        device,
        samples,
        needs,
        tuple(warnings(needs, options, device)),
    )


def preflight_int4(library: Library, request: Int4Request) -> Int4Preflight:
    """The plan, and whether its backend is installed."""
    from localq.errors import NotFoundError

    plan = plan_int4(library, request)
    environment: Environment | None
    try:
        environment = environment_of(plan.backend)
    except NotFoundError:
        environment = None
    return Int4Preflight(
        plan.source.name,
        plan.name,
        plan.folder,
        plan.device,
        plan.backend.name,
        plan.samples,
        plan.estimate,
        environment is not None,
        plan.warnings,
    )


def _shapes(source: Model, options: Int4Options) -> WeightShapes:
    from localq.convert import open_checkpoint

    checkpoint = open_checkpoint(source.path)
    shapes = weight_shapes(((n, t.info.shape) for n, t in checkpoint.tensors.items()), options)
    if not shapes.linears:
        raise UnsupportedError(
            msg("{name}: nothing in it is left to quantize", name=source.name),
            hint=msg("let --keep match fewer modules") if options.keep else None,
        )
    for module, (outputs, inputs) in shapes.linears.items():
        group = options.group_size if options.group_size > 0 else inputs
        # Eight numbers of four bits, or 32 of three, are packed together.
        if inputs % group or inputs % 32 or outputs % (8 if options.method is Method.AWQ else 32):
            raise UnsupportedError(
                msg(
                    "{module} is {outputs} x {inputs}: groups of {group} do not divide it",
                    module=module,
                    outputs=outputs,
                    inputs=inputs,
                    group=group,
                ),
                hint=msg(
                    "a smaller --group-size may, or a GGUF: localq quantize {gguf} {name}",
                    gguf=options.equivalent_gguf,
                    name=source.name,
                ),
            )
    return shapes
