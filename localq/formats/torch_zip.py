"""PyTorch's own files (pytorch_model.bin) as places of tensors, without PyTorch.

Since PyTorch 1.6 such a file is a zip archive: `data.pkl` says which tensors there are, and each
storage lies uncompressed in an entry `data/<key>`
(https://docs.pytorch.org/docs/stable/notes/serialization.html).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path

from localq.errors import BadFileError, UnsupportedError
from localq.formats.safetensors import DTYPE_BYTES, TensorInfo
from localq.formats.stand_in import LOOKED_AT, stand_in
from localq.formats.torch_pickle import PickledTensor, PickleError, read_pickle
from localq.formats.zip_archive import StoredEntry, read_stored_entries
from localq.messages import msg

__all__ = ["read_torch_header"]

_MAX_PICKLE_BYTES = 64 << 20
_HINT = "take a revision of the model with *.safetensors"


def read_torch_header(path: Path) -> tuple[TensorInfo, ...]:
    """The tensors of a PyTorch file in its own order, every size checked; nothing in it is run.

    Raises BadFileError where the file is damaged or holds more than tensors, UnsupportedError for
    files from before PyTorch 1.6 and for tensors whose numbers are not in one run.
    """
    _refuse_legacy(path)
    entries = read_stored_entries(path)
    pickles = [name for name in entries if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise BadFileError(path, msg("not a PyTorch file: it has no data.pkl"), hint=_HINT)
    prefix = pickles[0].removesuffix("data.pkl")
    order = _read(path, entries.get(f"{prefix}byteorder"))
    if order not in (b"", b"little"):
        raise UnsupportedError(
            msg("{path}: written by a big-endian machine", path=path), hint=_HINT
        )
    place = entries[pickles[0]]
    try:
        value = read_pickle(_read(path, place))
    except PickleError as error:
        raise BadFileError(
            path,
            msg("its pickle is refused: {error}", error=error),
            offset=place.offset + error.offset,
            hint=_HINT,
        ) from None
    if not isinstance(value, dict):
        raise BadFileError(path, msg("holds no table of tensors"), offset=place.offset, hint=_HINT)
    tensors = tuple(
        _place(path, name, tensor, prefix, entries)
        for name, tensor in value.items()
        if isinstance(name, str) and isinstance(tensor, PickledTensor)
    )
    if not tensors:
        raise BadFileError(path, msg("holds no tensors"), offset=place.offset, hint=_HINT)
    return tensors


def _refuse_legacy(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(LOOKED_AT)
    except OSError as error:
        raise BadFileError(
            path, msg("cannot be read: {strerror}", strerror=error.strerror or error)
        ) from error
    if found := stand_in(start):
        raise BadFileError(path, found.problem, hint=found.hint)
    if start[:1] == b"\x80":
        raise UnsupportedError(
            msg("{path}: a bare pickle, as PyTorch wrote before its release 1.6", path=path),
            hint=_HINT,
        )


def _read(path: Path, entry: StoredEntry | None) -> bytes:
    if entry is None:
        return b""
    if entry.nbytes > _MAX_PICKLE_BYTES:
        raise BadFileError(
            path,
            msg("its pickle claims {nbytes:,} bytes", nbytes=entry.nbytes),
            offset=entry.offset,
        )
    with path.open("rb") as file:
        file.seek(entry.offset)
        return file.read(entry.nbytes)


def _place(
    path: Path,
    name: str,
    tensor: PickledTensor,
    prefix: str,
    entries: Mapping[str, StoredEntry],
) -> TensorInfo:
    storage = tensor.storage
    entry = entries.get(f"{prefix}data/{storage.key}")
    if entry is None:
        raise BadFileError(path, msg("tensor {name!r} has no data in the file", name=name[:200]))
    element_bytes = DTYPE_BYTES[storage.dtype]
    nbytes = prod(tensor.shape) * element_bytes
    start = tensor.start * element_bytes
    if start + nbytes > entry.nbytes or storage.elements * element_bytes > entry.nbytes:
        raise BadFileError(
            path,
            msg("tensor {name!r} is larger than its data", name=name[:200]),
            offset=entry.offset,
        )
    transposed = False
    if not _in_one_run(tensor.shape, tensor.strides):
        transposed = len(tensor.shape) == 2 and _in_one_run(
            tensor.shape[::-1], tensor.strides[::-1]
        )
        if not transposed:
            raise UnsupportedError(
                msg(
                    "{path}: the numbers of tensor {name!r} are not in one run",
                    path=path,
                    name=name[:200],
                ),
                hint=_HINT,
            )
    return TensorInfo(
        name, storage.dtype, tensor.shape, entry.offset + start, nbytes, transposed=transposed
    )


def _in_one_run(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether the numbers lie one behind the other, the last dimension's together."""
    step = 1
    for length, stride in zip(reversed(shape), reversed(strides), strict=True):
        if length > 1 and stride != step:
            return False
        step *= length
    return True
