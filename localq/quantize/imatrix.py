"""Importance matrices: how much each column of a weight matters, by the text a model has read.

An entry holds, for one tensor, the mean square of what the tensor's columns were multiplied with.
Two file formats: a GGUF with a tensor of sums and one of counts for each entry, and the older
binary one, where an entry is its sums alone. Both as llama-quantize reads them (llama.cpp
`common/imatrix-loader.cpp` and `tools/quantize/quantize.cpp`), which means to the last bit.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from localq.errors import BadFileError, NotFoundError, storage_errors
from localq.formats.gguf import (
    Field,
    GGUFFile,
    GGUFTensor,
    TensorLayout,
    ValueType,
    align,
    encode_header,
    read_gguf,
)
from localq.formats.types import TensorType
from localq.messages import msg

__all__ = ["Counts", "Floats", "Imatrix", "read_imatrix", "write_imatrix"]

Floats = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]

_SUMS, _COUNTS = ".in_sum2", ".counts"
_DATASETS, _CHUNK_COUNT, _CHUNK_SIZE = (
    "imatrix.datasets",
    "imatrix.chunk_count",
    "imatrix.chunk_size",
)
_KEY_BYTES = 127  # llama.cpp cuts a metadata override's text there
_MAX_COUNT = float(1 << 62)
_HINT = "the file is damaged or unfinished; make it again with `localq imatrix`"


@dataclass(frozen=True, slots=True)
class Imatrix:
    """`entries` has for each tensor what the codecs want: one number per column, experts one
    after the other. `dataset` names the text (None: not known), `chunks` how much of it was read
    (0: not known). `path` is as the user wrote it: it goes into the files made with it."""

    path: Path
    dataset: str | None
    chunks: int
    entries: Mapping[str, Floats]

    def fields(self) -> dict[str, Field]:
        """What llama-quantize says of the matrix in a file made with it, in its order, behind all
        other metadata."""
        fields = {"quantize.imatrix.file": _text(os.fspath(self.path))}
        if self.dataset is not None:
            fields["quantize.imatrix.dataset"] = _text(self.dataset)
        fields["quantize.imatrix.entries_count"] = Field(ValueType.UINT32, len(self.entries))
        if self.chunks > 0:
            fields["quantize.imatrix.chunks_count"] = Field(ValueType.UINT32, self.chunks)
        return fields


def _text(text: str) -> Field:
    data = text.encode("utf-8", "surrogateescape")[:_KEY_BYTES]
    return Field(ValueType.STRING, data.decode("utf-8", "surrogateescape"))


def read_imatrix(path: Path) -> Imatrix:
    """Read either format. NotFoundError; BadFileError where the file is neither, or contradicts
    itself."""
    try:
        with path.open("rb") as file:
            if file.read(4) == b"GGUF":
                return _read_gguf(read_gguf(path), file)
            return _Legacy(path, file).read()
    except FileNotFoundError:
        raise NotFoundError(msg("{path}: no such file", path=path)) from None
    except OSError as error:
        raise BadFileError(
            path, msg("cannot be read: {strerror}", strerror=error.strerror or error)
        ) from error


def _read_gguf(gguf: GGUFFile, file: BinaryIO) -> Imatrix:
    path = gguf.path
    for key in (_DATASETS, _CHUNK_COUNT, _CHUNK_SIZE):
        if key not in gguf.fields:
            raise BadFileError(path, msg("not an importance matrix: it has no {key}", key=key))
    chunks = gguf.fields[_CHUNK_COUNT]
    if chunks.type is not ValueType.UINT32 or not isinstance(chunks.value, int):
        raise BadFileError(
            path, msg("{chunk_count} is not a 32-bit number", chunk_count=_CHUNK_COUNT), hint=_HINT
        )
    # Tensors may claim the same bytes; together they must not want more than there are.
    if sum(tensor.nbytes for tensor in gguf.tensors) > gguf.size_bytes:
        raise BadFileError(path, msg("its tensors overlap"), hint=_HINT)
    sums = {t.name.removesuffix(_SUMS): t for t in gguf.tensors if t.name.endswith(_SUMS)}
    counts = {t.name.removesuffix(_COUNTS): t for t in gguf.tensors if t.name.endswith(_COUNTS)}
    if not sums and not counts:
        raise BadFileError(path, msg("not an importance matrix: it has no entries"))
    if unpaired := sorted(sums.keys() ^ counts.keys()):
        raise BadFileError(
            path,
            msg("{unpaired!r} has sums or counts, not both", unpaired=unpaired[0][:200]),
            hint=_HINT,
        )
    entries = {
        name: _mean(path, name, _floats(path, file, sums[name]), _floats(path, file, counts[name]))
        for name in sorted(sums)
    }
    return Imatrix(path, _first_text(gguf.fields[_DATASETS]), chunks.value, entries)


def _first_text(field: Field) -> str | None:
    if field.item_type is not ValueType.STRING or not isinstance(field.value, list):
        return None
    return str(field.value[0]).partition("\0")[0] if field.value else None


def _floats(path: Path, file: BinaryIO, tensor: GGUFTensor) -> Floats:
    if tensor.type is not TensorType.F32 or not tensor.elements:
        raise BadFileError(
            path, msg("tensor {name!r} is not F32, or empty", name=tensor.name[:200]), hint=_HINT
        )
    file.seek(tensor.offset)
    return _numbers(file.read(tensor.nbytes))


def _numbers(data: bytes) -> Floats:
    return np.frombuffer(data, "<f4").astype(np.float32)


def _mean(path: Path, name: str, sums: Floats, counts: Floats) -> Floats:
    """Each matrix's sums by its count; ones for a matrix that was never used."""
    if sums.size % counts.size:
        raise BadFileError(
            path,
            msg(
                "{name!r}: {size} sums for {size2} counts",
                name=name[:200],
                size=sums.size,
                size2=counts.size,
            ),
            hint=_HINT,
        )
    _check_finite(path, name, sums)
    if not np.all(np.abs(counts) < _MAX_COUNT):
        raise BadFileError(path, msg("{name!r} has impossible counts", name=name[:200]), hint=_HINT)
    wide = counts.astype(np.float64)
    whole = np.trunc(wide + np.copysign(0.5, wide)).astype(np.float32)[:, None]
    matrices = sums.reshape(counts.size, -1)
    used = whole > 0
    divisors = np.where(used, whole, np.float32(1))
    return np.where(used, matrices / divisors, np.float32(1)).ravel()


def _check_finite(path: Path, name: str, values: Floats) -> None:
    if not np.isfinite(values).all():
        raise BadFileError(
            path,
            msg("{name!r} holds NaN or infinity", name=name[:200]),
            hint=msg("make the importance matrix anew, from a model that is whole"),
        )


class _Legacy:
    """int32 n, then n times: name, calls, values; at the end, optional: chunks, dataset."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.file = file
        self.size = file.seek(0, os.SEEK_END)
        self.position = file.seek(0)

    def read(self) -> Imatrix:
        count = self.number("the number of entries")
        # An entry takes at least a length, a letter, two numbers and a value.
        if count < 1 or count * 17 > self.size:
            self.position = 0
            raise self.bad(msg("not an importance matrix"))
        entries: dict[str, Floats] = {}
        for index in range(count):
            where = f"entry {index + 1} of {count}"
            name = _c_text(self.take(self.number(where), where))
            calls = self.number(where)
            values = _numbers(self.take(4 * max(0, self.number(where)), where))
            if not values.size:
                raise self.bad(msg("{where} is empty", where=where))
            _check_finite(self.path, name, values)
            entries[name] = values / np.float32(calls) if calls > 0 else values
        chunks, dataset = self.trailer()
        return Imatrix(self.path, dataset, chunks, entries)

    def trailer(self) -> tuple[int, str | None]:
        left = self.size - self.position
        chunks = self.number("the number of chunks") if left >= 4 else 0
        length = self.number("the dataset") if left >= 8 else 0
        if not 0 < length <= left - 8:
            return chunks, None
        return chunks, _c_text(self.take(length, "the dataset"))

    def bad(self, problem: str) -> BadFileError:
        return BadFileError(self.path, problem, offset=self.position, hint=_HINT)

    def number(self, what: str) -> int:
        return int(struct.unpack("<i", self.take(4, what))[0])

    def take(self, count: int, what: str) -> bytes:
        if not 0 <= count <= self.size - self.position:
            raise self.bad(msg("{what} does not fit into the file", what=what))
        data = self.file.read(count)
        if len(data) != count:
            raise self.bad(msg("the file ends inside {what}", what=what))
        self.position += count
        return data


def _c_text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def write_imatrix(
    path: Path,
    sums: Mapping[str, tuple[Floats, Counts]],
    *,
    datasets: Sequence[str],
    chunk_count: int,
    chunk_size: int,
) -> None:
    """Write a GGUF as llama-imatrix does (llama.cpp `tools/imatrix/imatrix.cpp`).

    `sums` has for each tensor the sums of squares, matrices (experts) one after the other, and for
    each matrix the number of rows summed up; `chunk_size` is in tokens. StorageError.
    """
    fields = {
        "general.type": Field(ValueType.STRING, "imatrix"),
        _DATASETS: Field(ValueType.ARRAY, list(datasets), ValueType.STRING),
        _CHUNK_COUNT: Field(ValueType.UINT32, chunk_count),
        _CHUNK_SIZE: Field(ValueType.UINT32, chunk_size),
    }
    table: list[TensorLayout] = []
    blobs: list[bytes] = []
    end = 0
    for name in sorted(sums, key=str.encode):
        values, counts = sums[name]
        columns, matrices = values.size // counts.size, counts.size
        for suffix, width, array in ((_SUMS, columns, values), (_COUNTS, 1, counts)):
            shape = (width, matrices) if matrices > 1 else (width,)
            data = array.astype("<f4").tobytes()
            table.append(TensorLayout(name + suffix, TensorType.F32, shape, end))
            blobs.append(data.ljust(align(len(data)), b"\0"))
            end += len(blobs[-1])
    with storage_errors(path), path.open("wb") as file:
        file.write(encode_header(fields.items(), table))
        file.writelines(blobs)
