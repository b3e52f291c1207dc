"""A Hugging Face checkpoint: its config and where its tensors are, on disk or still elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localq.convert.float8 import attach_scales
from localq.convert.source_tensor import SourceTensor
from localq.errors import BadFileError, NotFoundError
from localq.formats.json_file import read_json_object
from localq.formats.presence import is_there
from localq.formats.safetensors import TensorInfo, read_safetensors_header
from localq.formats.torch_zip import read_torch_header

__all__ = ["Checkpoint", "ReadBytes", "open_checkpoint"]

ReadBytes = Callable[[Path, int, int], bytes]
"""Of (a shard, an offset, a count): that many of its bytes from there on."""

_INDEX = "model.safetensors.index.json"
_PICKLED, _PICKLED_SUFFIX = "pytorch_model", ".bin"
_PICKLED_INDEX = "pytorch_model.bin.index.json"


def _read_file(path: Path, offset: int, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(count)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`name` is what the model calls itself: the folder's name unless the caller knows better.

    Tensors come in llama.cpp's order: shards by name, within a shard by tensor name, within one of
    PyTorch's as they stand there. `read` gets the few numbers that a conversion must look at.
    """

    root: Path
    name: str
    config: Mapping[str, Any]
    architecture: str
    tensors: Mapping[str, SourceTensor]
    read: ReadBytes = field(default=_read_file, repr=False, compare=False)

    def contents(self, tensor: SourceTensor) -> bytes:
        """The bytes of a small tensor."""
        return self.read(tensor.path, tensor.info.offset, tensor.info.nbytes)

    @property
    def parameters(self) -> int:
        return sum(tensor.info.elements for tensor in self.tensors.values())

    @property
    def dtype(self) -> str:
        """The dtype of the first matrix: what the checkpoint as a whole is said to be in."""
        matrices = (t.info for t in self.tensors.values() if len(t.info.shape) > 1)
        return next((info.dtype for info in matrices), "F32")

    @property
    def size_bytes(self) -> int:
        return sum(tensor.info.nbytes for tensor in self.tensors.values())


def open_checkpoint(
    root: Path,
    name: str | None = None,
    *,
    shards: Mapping[Path, Sequence[TensorInfo]] | None = None,
    read: ReadBytes | None = None,
) -> Checkpoint:
    """Read the config and the tensors' headers of the checkpoint folder `root`.

    With `shards`, the headers by the path that each file would have in the folder, no weights
    need to be there, and `read` gets at their bytes. Raises NotFoundError for a folder that is
    none, BadFileError for a damaged one, UnsupportedError for one that is already quantized.
    """
    if not root.is_dir():
        raise NotFoundError(f"{root}: no such folder", hint="pull the model first: localq pull")
    if not is_there(root / "config.json"):
        raise NotFoundError(
            f"{root}: no config.json in it",
            hint="a checkpoint is a folder with config.json, *.safetensors and a tokenizer",
        )
    config = read_json_object(root / "config.json")
    tensors: dict[str, SourceTensor] = {}
    headers = shards if shards is not None else {path: _header(path) for path in _shards(root)}
    for shard in sorted(headers):
        for info in _in_order(shard, headers[shard]):
            if info.name in tensors:
                raise BadFileError(shard, f"tensor {info.name[:200]!r} is in two shards")
            tensors[info.name] = SourceTensor(shard, info)
    _refuse_missing(root, tensors)
    if quantization := config.get("quantization_config"):
        tensors = attach_scales(root, quantization, tensors)
    return Checkpoint(
        *(root, name or root.resolve().name, config, _architecture(root, config)),
        tensors,
        read or _read_file,
    )


def _architecture(root: Path, config: Mapping[str, Any]) -> str:
    architectures = config.get("architectures")
    if not (
        isinstance(architectures, list) and architectures and isinstance(architectures[0], str)
    ):
        raise BadFileError(root / "config.json", "names no model architecture")
    return architectures[0]


def _shards(root: Path) -> list[Path]:
    shards = sorted(root.glob("model*.safetensors"))
    if shards:
        return shards
    shards = sorted(root.glob(f"{_PICKLED}*{_PICKLED_SUFFIX}"))
    if shards:
        return shards
    raise NotFoundError(
        f"{root}: neither model*.safetensors nor pytorch_model*.bin in it",
        hint="pull the model again",
    )


def _header(shard: Path) -> Sequence[TensorInfo]:
    is_there(shard)  # or why it is none
    if shard.suffix == _PICKLED_SUFFIX:
        return read_torch_header(shard)
    return read_safetensors_header(shard)


def _in_order(shard: Path, header: Sequence[TensorInfo]) -> Sequence[TensorInfo]:
    if shard.suffix == _PICKLED_SUFFIX:
        return header
    return sorted(header, key=lambda info: info.name)


def _refuse_missing(root: Path, tensors: Mapping[str, SourceTensor]) -> None:
    pickled = any(source.path.suffix == _PICKLED_SUFFIX for source in tensors.values())
    index = root / (_PICKLED_INDEX if pickled else _INDEX)
    if not is_there(index):
        return
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise BadFileError(index, "has no weight_map")
    missing = sorted(set(weight_map) - set(tensors))
    if missing:
        shards = sorted({str(weight_map[name]) for name in missing})
        raise BadFileError(
            index,
            f"{len(missing)} tensors are not on disk, such as {missing[0][:200]!r} "
            f"of {shards[0][:200]}",
            hint="the download is unfinished; pull the model again",
        )
