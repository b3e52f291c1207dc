"""An INT4 checkpoint: which matrices are packed, and whether their parts go together.

A packed matrix of `inputs` by `outputs`, with `bits` a weight, is (GPTQ, AWQ; int32 but scales):

    qweight  [inputs * bits / 32, outputs]       [inputs, outputs * bits / 32]
    qzeros   [groups, outputs * bits / 32]       [groups, outputs * bits / 32]
    scales   [groups, outputs]                   [groups, outputs]
    g_idx    [inputs]                            -
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localq.errors import BadFileError, NotFoundError
from localq.formats.json_file import read_json_object
from localq.formats.presence import is_there
from localq.formats.safetensors import TensorInfo, read_safetensors_header
from localq.formats.weight_files import (
    INDEXES,
    AmbiguousWeightsError,
    IncompleteWeightsError,
    find_weight_files,
)
from localq.gpu_quant.options import Method, int4_label
from localq.gpu_quant.quantization_config import QuantizationConfig, quantization_of
from localq.messages import msg

__all__ = ["PROVENANCE", "Int4Checkpoint", "PackedMatrix", "read_int4", "weight_names"]

PROVENANCE = "localq_provenance.json"
"""The file in which localq says what it made a checkpoint of, and with."""
_PARTS = ("qweight", "qzeros", "scales", "g_idx")
_FLOATS = ("F16", "BF16", "F32")


@dataclass(frozen=True, slots=True)
class PackedMatrix:
    """A module that is quantized: `inputs` by `outputs` weights in `nbytes` bytes."""

    module: str
    inputs: int
    outputs: int
    nbytes: int

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs


@dataclass(frozen=True, slots=True)
class Int4Checkpoint:
    """`kept` are modules in layers whose matrices are floats."""

    root: Path
    config: Mapping[str, Any]
    architecture: str
    quantization: QuantizationConfig
    tensors: Mapping[str, TensorInfo]
    packed: tuple[PackedMatrix, ...]
    kept: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """The model's weights, however they are stored."""
        return self.quantized_parameters + sum(info.elements for info in self._plain())

    @property
    def quantized_parameters(self) -> int:
        return sum(matrix.weights for matrix in self.packed)

    @property
    def label(self) -> str:
        """Such as "GPTQ-INT4"."""
        told = self.quantization
        return int4_label(told.method, told.bits, told.group_size, mixed=bool(self.kept))

    @property
    def dtypes(self) -> Mapping[str, int]:
        """Bytes of tensors by dtype."""
        found: Counter[str] = Counter()
        for info in self.tensors.values():
            found[info.dtype] += info.nbytes
        return found

    def _plain(self) -> list[TensorInfo]:
        modules = {matrix.module for matrix in self.packed}
        return [i for n, i in self.tensors.items() if n.rpartition(".")[0] not in modules]


def read_int4(
    root: Path, *, shards: Mapping[Path, Sequence[TensorInfo]] | None = None
) -> Int4Checkpoint:
    """Read config and headers of the INT4 checkpoint in the folder `root`, and check them.

    With `shards`, headers by the path that each file would have there, no weights need to be
    there. NotFoundError where it is no INT4 checkpoint, BadFileError where it is a damaged one.
    """
    config = read_json_object(root / "config.json")
    told = quantization_of(root, config)
    if told is None:
        raise NotFoundError(msg("{root}: is no AWQ or GPTQ checkpoint", root=root))
    named = config.get("architectures")
    architecture = named[0] if isinstance(named, list) and named else "unknown"
    headers = shards
    if headers is None:
        headers = {root / n: read_safetensors_header(root / n) for n in weight_names(root)}
    tensors: dict[str, TensorInfo] = {}
    for path, infos in headers.items():
        for info in infos:
            if info.name in tensors:
                raise BadFileError(
                    path, msg("tensor {name!r} is in two shards", name=info.name[:200])
                )
            tensors[info.name] = info
    if shards is None:
        _check_index(root, tensors)
    packed = _packed(root, told, tensors)
    return Int4Checkpoint(
        root,
        config,
        str(architecture)[:200],
        told,
        tensors,
        packed,
        _kept(tensors, {matrix.module for matrix in packed}),
    )


def weight_names(root: Path) -> tuple[str, ...]:
    """The files with its weights; NotFoundError or BadFileError where they are not there."""
    names = [path.name for path in root.iterdir() if not path.name.startswith(".")]
    try:
        found = find_weight_files(names, lambda name: read_json_object(root / name))
    except (IncompleteWeightsError, AmbiguousWeightsError) as error:
        raise BadFileError(root, str(error), hint=msg("pull the model again")) from None
    if found is None or found.pickled:
        raise NotFoundError(
            msg("{root}: no *.safetensors in it", root=root), hint=msg("pull the model again")
        )
    return found.names


def _check_index(root: Path, tensors: Mapping[str, TensorInfo]) -> None:
    for name in INDEXES:
        if not is_there(root / name):
            continue
        told = read_json_object(root / name).get("weight_map")
        missing = sorted(set(told or {}) - set(tensors)) if isinstance(told, dict) else [name]
        if missing:
            raise BadFileError(
                root / name,
                msg(
                    "{missing} tensors are not on disk, such as {first!r}",
                    missing=len(missing),
                    first=missing[0][:200],
                ),
            )


def _packed(
    root: Path, told: QuantizationConfig, tensors: Mapping[str, TensorInfo]
) -> tuple[PackedMatrix, ...]:
    parts: defaultdict[str, dict[str, TensorInfo]] = defaultdict(dict)
    for name, info in tensors.items():
        module, _, part = name.rpartition(".")
        if part in _PARTS:
            parts[module][part] = info
    found = [
        _matrix(root, told, module, of) for module, of in sorted(parts.items()) if "qweight" in of
    ]
    if not found:
        raise BadFileError(root, msg("no tensor in it is quantized, whatever its config says"))
    return tuple(found)


def _matrix(
    root: Path, told: QuantizationConfig, module: str, parts: Mapping[str, TensorInfo]
) -> PackedMatrix:
    def refuse(part: str) -> BadFileError:
        info = parts.get(part)
        return BadFileError(
            root,
            msg(
                "{module}.{part} does not go with its qweight: {what}",
                module=module[:200],
                part=part,
                what=f"{info.dtype} {list(info.shape)}" if info else msg("it is missing"),
            ),
        )

    qweight = parts["qweight"]
    if qweight.dtype != "I32" or len(qweight.shape) != 2:
        raise refuse("qweight")
    rows, columns = qweight.shape
    if told.method is Method.GPTQ:
        inputs, outputs = rows * 32 // told.bits, columns
    else:
        inputs, outputs = rows, columns * 32 // told.bits
    group = told.group_size if told.group_size > 0 else max(inputs, 1)
    groups = -(-inputs // group)
    expected: dict[str, tuple[str, tuple[int, ...]]] = {
        "qzeros": ("I32", (groups, outputs * told.bits // 32)),
        "scales": ("", (groups, outputs)),
    }
    if told.method is Method.GPTQ and "g_idx" in parts:
        expected["g_idx"] = ("I32", (inputs,))
    for part, (dtype, shape) in expected.items():
        info = parts.get(part)
        wanted = (dtype,) if dtype else _FLOATS
        if info is None or info.shape != shape or info.dtype not in wanted:
            raise refuse(part)
    return PackedMatrix(module, inputs, outputs, sum(info.nbytes for info in parts.values()))


def _kept(tensors: Mapping[str, TensorInfo], packed: set[str]) -> tuple[str, ...]:
    """Modules of floats of the same kind as packed ones: "self_attn.q_proj" beside others."""
    parents = {module.rpartition(".")[0].rpartition(".")[0] for module in packed}
    return tuple(
        sorted(
            module
            for name, info in tensors.items()
            if name.endswith(".weight") and len(info.shape) == 2 and info.dtype in _FLOATS
            for module in [name.removesuffix(".weight")]
            if module.rpartition(".")[0].rpartition(".")[0] in parents
            and module.rpartition(".")[2].endswith("proj")
        )
    )
