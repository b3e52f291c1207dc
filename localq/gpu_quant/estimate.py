"""What quantizing a model would take, before it begins: from the shapes of its tensors alone.

The bytes of the output are exact but for headers. Memory follows what gptqmodel does: one layer at
a time in float16 with the Hessians of its modules in float32, and the activations of all samples.
Times were measured on two cores and are scaled; those of GPUs are guesses from their published
arithmetic, and are said to be.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil

from localq.gpu_quant.options import Int4Options, Method

__all__ = ["HARDLY_PAYS_BELOW", "Int4Estimate", "WeightShapes", "estimate", "weight_shapes"]

HARDLY_PAYS_BELOW = 100_000_000
"""Of a model with fewer parameters so much is in embeddings, which stay, that INT4 saves little."""

_IN_LAYER = re.compile(r"\.(\d{1,4})\..*\.weight$")
_NO_LINEAR = re.compile(r"norm|embed|\.(?:gate|router|conv1d)\.weight$")
_BASE_RAM = 700 << 20
_BASE_VRAM = 700 << 20
_GPU_FLOPS = 20e12
_CORE_FLOPS = 25e9
_SPARE = 1.2


@dataclass(frozen=True, slots=True)
class WeightShapes:
    """`linears` are the matrices that are quantized, by module name: outputs by inputs. The others
    have `other_parameters` weights; `layer_parameters` is of the largest layer."""

    linears: Mapping[str, tuple[int, int]]
    other_parameters: int
    layers: int
    layer_parameters: int
    hidden: int

    @property
    def quantized_parameters(self) -> int:
        return sum(rows * columns for rows, columns in self.linears.values())

    @property
    def parameters(self) -> int:
        return self.quantized_parameters + self.other_parameters


@dataclass(frozen=True, slots=True)
class Int4Estimate:
    """Bytes and seconds; `output_bytes` of the weights' files, `disk_bytes` with what is needed
    while it works. `vram_bytes` is 0 on a processor."""

    output_bytes: int
    disk_bytes: int
    ram_bytes: int
    vram_bytes: int
    seconds: float
    quantized_parameters: int
    parameters: int


def weight_shapes(
    tensors: Iterable[tuple[str, tuple[int, ...]]], options: Int4Options
) -> WeightShapes:
    """What `options` quantizes of a checkpoint whose tensors have these names and shapes."""
    linears: dict[str, tuple[int, int]] = {}
    layer_sizes: Counter[str] = Counter()
    other = 0
    hidden: defaultdict[int, int] = defaultdict(int)
    for name, shape in tensors:
        size = 1
        for length in shape:
            size *= length
        layer = _IN_LAYER.search(name)
        module = name.removesuffix(".weight")
        if layer is not None:
            layer_sizes[layer[1]] += size
        if layer and len(shape) == 2 and not _NO_LINEAR.search(name) and not options.keeps(module):
            linears[module] = (shape[0], shape[1])
            hidden[shape[1]] += 1
        else:
            other += size
    usual = max(hidden, key=lambda width: hidden[width], default=0)
    return WeightShapes(
        linears, other, len(layer_sizes), max(layer_sizes.values(), default=0), usual
    )


def estimate(
    shapes: WeightShapes,
    options: Int4Options,
    *,
    samples: int,
    length: int,
    device: str,
    cores: int,
) -> Int4Estimate:
    """For `samples` of `length` tokens, on "cpu" with so many cores or on "cuda"."""
    output = shapes.other_parameters * 2 + sum(
        _packed_bytes(rows, columns, options) for rows, columns in shapes.linears.values()
    )
    hessians = max((columns**2 * 4 for _, columns in shapes.linears.values()), default=0) * 3
    activations = samples * length * shapes.hidden * 2 * 2
    # AWQ computes each layer again for every ratio that it tries.
    working = shapes.layer_parameters * (2 + 4) + (hessians if options.method is Method.GPTQ else 0)
    whole = shapes.parameters * 2
    operations = 4.0 * shapes.quantized_parameters * samples * length
    if device == "cpu":
        vram = 0
        ram = int((_BASE_RAM + whole + working + activations) * _SPARE)
        tries = 1.0 if options.method is Method.GPTQ else 12.0
        seconds = 60 + 2.0 * shapes.layers + tries * operations / (_CORE_FLOPS * max(cores, 1))
    else:
        vram = int((_BASE_VRAM + working + activations) * _SPARE)
        ram = int((_BASE_RAM + whole) * _SPARE)
        tries = 1.0 if options.method is Method.GPTQ else 6.0
        seconds = 60 + 3.0 * shapes.layers * tries + tries * operations / _GPU_FLOPS
    return Int4Estimate(
        output_bytes=output,
        disk_bytes=output + whole,  # finished layers wait on the disk
        ram_bytes=ram,
        vram_bytes=vram,
        seconds=seconds,
        quantized_parameters=shapes.quantized_parameters,
        parameters=shapes.parameters,
    )


def _packed_bytes(rows: int, columns: int, options: Int4Options) -> int:
    """Of one matrix: packed weights, a float16 scale and a packed zero point for each group, and
    of GPTQ the group of each column."""
    group = options.group_size if options.group_size > 0 else columns
    groups = ceil(columns / group)
    weights = rows * columns * options.bits // 8
    scales = groups * rows * 2 + groups * rows * options.bits // 8
    return weights + scales + (columns * 4 if options.method is Method.GPTQ else 0)
