"""A Hugging Face checkpoint: its config and where its tensors are, on disk or still elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localq.convert.float8 import attach_scales
from localq.convert.mistral_params import MISTRAL_PARAMS, PARAMS, read_params
from localq.convert.quantized import refuse_unannounced
from localq.convert.source_tensor import SourceTensor
from localq.convert.text_part import named_architecture, text_part
from localq.errors import BadFileError, NotFoundError, UnsupportedError
from localq.formats.json_file import read_json_object
from localq.formats.presence import is_there
from localq.formats.safetensors import TensorInfo, read_safetensors_header
from localq.formats.torch_zip import read_torch_header
from localq.formats.weight_files import (
    INDEXES,
    AmbiguousWeightsError,
    IncompleteWeightsError,
    find_weight_files,
)
from localq.messages import msg

__all__ = ["Checkpoint", "ReadBytes", "open_checkpoint", "read_config", "refuse_adapter"]

ReadBytes = Callable[[Path, int, int], bytes]
"""Of (a shard, an offset, a count): that many of its bytes from there on."""

_PICKLED_SUFFIX = ".bin"


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
        """The dtype of most of the weights: what the checkpoint as a whole is said to be in.

        Embeddings alone in F32 do not make it one of F32.
        """
        elements: Counter[str] = Counter()
        for tensor in self.tensors.values():
            if len(tensor.info.shape) > 1 and "F" in tensor.info.dtype:
                elements[tensor.info.dtype] += tensor.info.elements
        return max(elements, key=lambda dtype: elements[dtype], default="F32")

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
    config, architecture = read_config(root)
    tensors: dict[str, SourceTensor] = {}
    headers = shards if shards is not None else {path: _header(path) for path in _shards(root)}
    for shard in sorted(headers):
        for info in _in_order(shard, headers[shard]):
            if info.name in tensors:
                raise BadFileError(
                    shard, msg("tensor {name!r} is in two shards", name=info.name[:200])
                )
            tensors[info.name] = SourceTensor(shard, info)
    _refuse_missing(root, headers, tensors)
    quantization = config.get("quantization_config")
    if quantization and not _is_mxfp4(quantization):
        tensors = attach_scales(root, quantization, tensors)
    else:
        refuse_unannounced(root, tensors)
    return Checkpoint(
        root=root,
        name=name or root.resolve().name,
        config=config,
        architecture=architecture,
        tensors=tensors,
        read=read or _read_file,
    )


def _is_mxfp4(quantization: object) -> bool:
    """Whether experts are in a format that GGUF has too, which their family sees to."""
    return isinstance(quantization, dict) and quantization.get("quant_method") == "mxfp4"


def refuse_adapter(root: Path) -> None:
    """UnsupportedError where the folder holds an adapter, which is no model."""
    path = root / "adapter_config.json"
    if not is_there(path):
        return
    base = read_json_object(path).get("base_model_name_or_path")
    of = f" for {base[:200]}" if isinstance(base, str) and base else ""
    raise UnsupportedError(
        msg("{root}: is an adapter{of}, not a model", root=root, of=of),
        hint=msg(
            "localq convert {root} makes a GGUF adapter of it, with --merge a model", root=root
        ),
    )


def read_config(root: Path) -> tuple[Mapping[str, Any], str]:
    """What config.json in the folder `root` says, and the architecture it names: of a model that
    also sees or hears, that of the part that reads text, where that names one.

    NotFoundError for a folder that is no checkpoint, BadFileError for a config that is none.
    """
    if not root.is_dir():
        raise NotFoundError(
            msg("{root}: no such folder", root=root), hint=msg("pull the model first: localq pull")
        )
    if not is_there(root / "config.json"):
        refuse_adapter(root)
        if is_there(root / PARAMS):
            return read_params(root), MISTRAL_PARAMS
        raise NotFoundError(
            msg("{root}: no config.json in it", root=root),
            hint=msg("a checkpoint is a folder with config.json, *.safetensors and a tokenizer"),
        )
    config = read_json_object(root / "config.json")
    architecture = named_architecture(text_part(config)) or named_architecture(config)
    if architecture is None:
        raise BadFileError(root / "config.json", msg("names no model architecture"))
    return config, architecture


def _shards(root: Path) -> list[Path]:
    """The files of weights, by the rules of `find_weight_files`."""
    names = [path.name for path in root.iterdir() if not path.name.startswith(".")]
    try:
        found = find_weight_files(names, lambda name: read_json_object(root / name))
    except IncompleteWeightsError as error:
        raise BadFileError(
            root, str(error), hint=msg("the download is unfinished; pull the model again")
        ) from None
    except AmbiguousWeightsError as error:
        raise UnsupportedError(
            msg("{root}: {error}", root=root, error=error),
            hint=msg("leave the files of one model in the folder"),
        ) from None
    if found is None:
        raise NotFoundError(
            msg("{root}: neither model*.safetensors nor pytorch_model*.bin in it", root=root),
            hint=msg("pull the model again"),
        )
    return [root / name for name in found.names]


def _header(shard: Path) -> Sequence[TensorInfo]:
    is_there(shard)  # or why it is none
    if shard.suffix == _PICKLED_SUFFIX:
        return read_torch_header(shard)
    return read_safetensors_header(shard)


def _in_order(shard: Path, header: Sequence[TensorInfo]) -> Sequence[TensorInfo]:
    if shard.suffix == _PICKLED_SUFFIX:
        return header
    return sorted(header, key=lambda info: info.name)


def _refuse_missing(
    root: Path, shards: Collection[Path], tensors: Mapping[str, SourceTensor]
) -> None:
    """Every tensor that the index of these very files names must be in them."""
    names = {path.name for path in shards}
    for index in sorted(root / name for name in INDEXES):
        if not is_there(index):
            continue
        weight_map = read_json_object(index).get("weight_map")
        if not isinstance(weight_map, dict):
            raise BadFileError(index, msg("has no weight_map"))
        missing = sorted(set(weight_map) - set(tensors))
        if missing and not names.isdisjoint(map(str, weight_map.values())):
            raise BadFileError(
                index,
                msg(
                    "{missing} tensors are not on disk, such as {missing2!r} of {weight_map}",
                    missing=len(missing),
                    missing2=missing[0][:200],
                    weight_map=str(weight_map[missing[0]])[:200],
                ),
                hint=msg("the download is unfinished; pull the model again"),
            )
