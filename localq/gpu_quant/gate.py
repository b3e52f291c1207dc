"""Whether this machine can quantize so, and on which device; else what it can do instead."""

from __future__ import annotations

from collections.abc import Sequence

from localq.display import byte_size
from localq.errors import LocalqError, StorageError, UnsupportedError
from localq.gpu_quant.estimate import HARDLY_PAYS_BELOW, Int4Estimate
from localq.gpu_quant.options import Int4Options, Method
from localq.hardware.profile import Accelerator
from localq.messages import msg

__all__ = ["LEAST_CAPABILITY", "check_room", "choose_device", "warnings"]

LEAST_CAPABILITY = (7, 5)
"""Of CUDA: Turing. The kernels for INT4 need its tensor cores' integer instructions."""
_LONG_SECONDS = 1800.0
_VLLM_BITS = (4, 8)


def choose_device(
    wanted: str, accelerators: Sequence[Accelerator], options: Int4Options, name: str
) -> tuple[str, Accelerator | None]:
    """ "cpu", or "cuda" with the GPU that has the most memory free. `wanted` is "auto", "cuda" or
    "cpu". UnsupportedError, saying what was found and what to do instead."""
    if wanted == "cpu":
        return "cpu", None
    fitting = [gpu for gpu in accelerators if _fits(gpu)]
    if fitting:
        return "cuda", max(fitting, key=lambda gpu: gpu.free_bytes or gpu.total_bytes or 0)
    raise UnsupportedError(
        msg(
            "{method} wants a CUDA GPU of compute capability {least}; here is {found}",
            method=options.method.upper(),
            least=".".join(map(str, LEAST_CAPABILITY)),
            found=_found(accelerators),
        ),
        hint=msg(
            "localq quantize {gguf} {name} makes a GGUF of that size, which runs here;"
            " a small model can be quantized with --device cpu",
            gguf=options.equivalent_gguf,
            name=name,
        ),
    )


def _fits(gpu: Accelerator) -> bool:
    # A driver too old to tell the capability is left for CUDA itself to judge.
    capability = gpu.compute_capability
    return gpu.vendor == "NVIDIA" and (capability is None or capability >= LEAST_CAPABILITY)


def _found(accelerators: Sequence[Accelerator]) -> str:
    if not accelerators:
        return msg("no GPU")
    described = [
        f"{gpu.name} ({'.'.join(map(str, gpu.compute_capability))})"
        if gpu.compute_capability
        else gpu.name
        for gpu in accelerators
    ]
    return ", ".join(described)


def check_room(
    needs: Int4Estimate,
    *,
    gpu: Accelerator | None,
    available_ram: int | None,
    free_disk: int,
    options: Int4Options,
    name: str,
) -> None:
    """LocalqError where it cannot fit: disk, memory of the machine, memory of the GPU."""
    if needs.disk_bytes > free_disk:
        raise StorageError(
            msg(
                "quantizing takes about {needed} of disk while it works, {free} are left",
                needed=byte_size(needs.disk_bytes),
                free=byte_size(free_disk),
            ),
            hint=msg("free some space (localq trash empty), or move LOCALQ_HOME to a larger disk"),
        )
    instead = msg(
        "fewer samples take less (--calib-samples), and localq quantize {gguf} {name} needs"
        " no such memory",
        gguf=options.equivalent_gguf,
        name=name,
    )
    if available_ram is not None and needs.ram_bytes > available_ram:
        raise LocalqError(
            msg(
                "quantizing takes about {needed} of memory, {available} are available",
                needed=byte_size(needs.ram_bytes),
                available=byte_size(available_ram),
            ),
            hint=instead,
        )
    free = gpu.free_bytes if gpu else None
    if gpu is not None and free is not None and needs.vram_bytes > free:
        raise LocalqError(
            msg(
                "quantizing takes about {needed} of GPU memory, {gpu} has {free} free",
                needed=byte_size(needs.vram_bytes),
                gpu=gpu.name,
                free=byte_size(free),
            ),
            hint=instead,
        )


def warnings(needs: Int4Estimate, options: Int4Options, device: str) -> list[str]:
    """What to think about before it begins."""
    found: list[str] = []
    if needs.parameters < HARDLY_PAYS_BELOW:
        share = needs.quantized_parameters / max(needs.parameters, 1)
        found.append(
            msg(
                "INT4 hardly pays below {least} million parameters: {share:.0%} of this model's"
                " are in layers that are quantized",
                least=HARDLY_PAYS_BELOW // 1_000_000,
                share=share,
            )
        )
    if device == "cpu" and needs.seconds > _LONG_SECONDS:
        found.append(
            msg(
                "on a processor this takes about {hours:.1f} hours; localq quantize {gguf} takes"
                " minutes",
                hours=needs.seconds / 3600,
                gguf=options.equivalent_gguf,
            )
        )
    if options.method is Method.GPTQ and not (options.symmetric and options.bits in _VLLM_BITS):
        found.append(
            msg("vLLM 0.33 loads symmetric GPTQ of 4 or 8 bits only: this is for transformers")
        )
    return found
