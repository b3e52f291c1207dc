"""The header of a safetensors file.

Layout (https://github.com/huggingface/safetensors#format): a little-endian u64 with the header's
length, the header as a JSON object, then the tensors' bytes. localq reads the header itself
because it needs the tensors' places in the file, which the official library does not give.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from localq.errors import BadFileError
from localq.formats.json_file import parse_json_object
from localq.formats.readable import Readable
from localq.formats.stand_in import LOOKED_AT, stand_in
from localq.messages import msg

__all__ = [
    "DTYPE_BYTES",
    "TensorInfo",
    "parse_safetensors_header",
    "read_safetensors_header",
]

DTYPE_BYTES: Mapping[str, int] = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
}
"""Bytes of one element of each dtype that localq knows."""

_MAX_HEADER_BYTES = 100_000_000  # the official library's own limit
_MAX_DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a file; `offset` counts from the start of the file. The numbers of a matrix
    that is `transposed`, which only PyTorch's own files have, lie there column by column."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    transposed: bool = False

    @property
    def elements(self) -> int:
        return prod(self.shape)


def read_safetensors_header(path: Path) -> tuple[TensorInfo, ...]:
    """The tensors of a safetensors file in the order of their bytes, every size checked.

    Raises BadFileError, with the byte offset, where the header lies: sizes beyond the file,
    overlaps, shapes that do not match their bytes, JSON that is no header.
    """
    try:
        with path.open("rb") as file:
            return parse_safetensors_header(file, path, path.stat().st_size)
    except OSError as error:
        raise BadFileError(
            path, msg("cannot be read: {strerror}", strerror=error.strerror or error)
        ) from error


def parse_safetensors_header(file: Readable, path: Path, size: int) -> tuple[TensorInfo, ...]:
    """As `read_safetensors_header`, of a file of `size` bytes of which only these are read."""
    prefix = file.read(8)
    header_bytes = int.from_bytes(prefix, "little")
    # A text's first eight letters are no length: what begins like one is still a header.
    claims_more = header_bytes > min(size - 8, _MAX_HEADER_BYTES)
    if claims_more and (found := stand_in(prefix + file.read(LOOKED_AT))):
        raise BadFileError(path, found.problem, hint=found.hint)
    if len(prefix) < 8:
        raise BadFileError(
            path, msg("not a safetensors file: {size} bytes long", size=size), offset=0
        )
    if claims_more:
        raise BadFileError(
            path,
            msg(
                "the header claims {header_bytes:,} bytes, the file has {size:,}",
                header_bytes=header_bytes,
                size=size,
            ),
            offset=0,
            hint=msg("the download is damaged or unfinished; pull it again"),
        )
    header = parse_json_object(file.read(header_bytes), path, offset=8)
    header.pop("__metadata__", None)
    start = 8 + header_bytes
    tensors = [_tensor(path, name, entry, start, size) for name, entry in header.items()]
    tensors.sort(key=lambda tensor: tensor.offset)
    _refuse_overlaps(path, tensors)
    return tuple(tensors)


def _tensor(path: Path, name: str, entry: object, start: int, size: int) -> TensorInfo:
    where = f"tensor {name[:200]!r}"
    if not isinstance(entry, dict):
        raise BadFileError(
            path, msg("{where} is not described by an object", where=where), offset=8
        )
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str):
        raise BadFileError(path, msg("{where} has no dtype", where=where), offset=8)
    if not (isinstance(shape, list) and len(shape) <= _MAX_DIMENSIONS and _naturals(shape)):
        raise BadFileError(path, msg("{where} has an impossible shape", where=where), offset=8)
    if not (isinstance(offsets, list) and len(offsets) == 2 and _naturals(offsets)):
        raise BadFileError(path, msg("{where} has impossible data_offsets", where=where), offset=8)
    begin, end = offsets
    if begin > end or start + end > size:
        raise BadFileError(
            path,
            msg("{where} ends beyond the file", where=where),
            offset=start + begin,
            hint=msg("the download is damaged or unfinished; pull it again"),
        )
    element_bytes = DTYPE_BYTES.get(dtype)
    if element_bytes is not None and prod(shape) * element_bytes != end - begin:
        raise BadFileError(
            path,
            msg(
                "{where}: {dtype} of shape {shape} does not take {end:,} bytes",
                where=where,
                dtype=dtype,
                shape=shape,
                end=end - begin,
            ),
            offset=start + begin,
        )
    return TensorInfo(name, dtype, tuple(shape), start + begin, end - begin)


def _naturals(values: list[object]) -> bool:
    return all(type(value) is int and 0 <= value < 1 << 62 for value in values)


def _refuse_overlaps(path: Path, tensors: list[TensorInfo]) -> None:
    end = 0
    for tensor in tensors:
        if tensor.nbytes and tensor.offset < end:
            raise BadFileError(
                path,
                msg("tensor {name!r} overlaps the one before it", name=tensor.name[:200]),
                offset=tensor.offset,
            )
        end = max(end, tensor.offset + tensor.nbytes)
