"""What llama.cpp says it allocated, read from its log: it has no C function that tells.

The lines, of llama.cpp's `llama-model.cpp`, `llama-kv-cache.cpp`, `llama-memory-recurrent.cpp` and
`llama-context.cpp`:

    load_tensors:   CPU_Mapped model buffer size =   606.54 MiB
    llama_kv_cache:        CPU KV buffer size =    88.00 MiB
    sched_reserve:        CPU compute buffer size =    66.50 MiB
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

__all__ = ["BufferMemory", "buffer_memory", "flash_attention", "offloaded_layers"]

_BUFFER = re.compile(r"^\w+: +(\S+) +(.+) buffer size = +(\d+\.\d+) MiB\s*$")
_OFFLOADED = re.compile(r"offloaded (\d+)/\d+ layers to GPU")
_FLASH = re.compile(r"Flash Attention (enabled|not supported)")


@dataclass(frozen=True, slots=True)
class BufferMemory:
    """Bytes of one kind of memory, to within 5,243: llama.cpp gives hundredths of a MiB."""

    buffer: str
    """llama.cpp's name: CPU, CPU_Mapped (the file itself), CPU_REPACK, CUDA0, CUDA_Host, ..."""
    model_bytes: int = 0
    context_bytes: int = 0
    """Keys, values and recurrent states."""
    compute_bytes: int = 0
    output_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        return self.model_bytes + self.context_bytes + self.compute_bytes + self.output_bytes


def buffer_memory(lines: Iterable[str]) -> tuple[BufferMemory, ...]:
    """The memory of one model and one context, from the lines of their making."""
    found: dict[str, BufferMemory] = {}
    for line in lines:
        if match := _BUFFER.match(line):
            buffer, kind, size = match.groups()
            memory = found.get(buffer, BufferMemory(buffer))
            found[buffer] = _with(memory, kind, round(float(size) * (1 << 20)))
    return tuple(found.values())


def _with(memory: BufferMemory, kind: str, size: int) -> BufferMemory:
    match kind:
        case "model":
            return replace(memory, model_bytes=memory.model_bytes + size)
        case "compute":  # reserved anew, now and then: the last one counts
            return replace(memory, compute_bytes=size)
        case "output":
            return replace(memory, output_bytes=size)
        case _:  # KV, of which there are several with sliding windows; RS; other states
            return replace(memory, context_bytes=memory.context_bytes + size)


def offloaded_layers(lines: Iterable[str]) -> int:
    """How many layers went to devices; 0 where there are none."""
    return max((int(m[1]) for line in lines if (m := _OFFLOADED.search(line))), default=0)


def flash_attention(lines: Iterable[str]) -> bool | None:
    """Whether llama.cpp chose flash attention; None where it had no choice."""
    chosen = [m[1] == "enabled" for line in lines if (m := _FLASH.search(line))]
    return chosen[-1] if chosen else None
