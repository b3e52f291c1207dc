"""PyTorch's files written by hand, so that no test needs PyTorch and lies can be told."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.checkpoints import RawTensor

__all__ = ["integer", "pickled_tensor", "state_dict", "text", "torch_archive", "write_torch"]

_STORAGES = {"F32": "FloatStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage"}


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


def integer(value: int) -> bytes:
    return b"\x8a\x20" + value.to_bytes(32, "little", signed=True)


def _tuple(items: Iterable[bytes]) -> bytes:
    return b"(" + b"".join(items) + b"t"


def pickled_tensor(
    key: str,
    shape: tuple[int, ...],
    *,
    storage: str = "FloatStorage",
    elements: int | None = None,
    strides: tuple[int, ...] | None = None,
    start: int = 0,
) -> bytes:
    """The operations that make a tensor; dense unless `strides` say otherwise."""
    dense: list[int] = []
    count = 1
    for length in reversed(shape):
        dense.insert(0, count)
        count *= length
    reference = (
        text("storage"),
        b"ctorch\n" + storage.encode() + b"\n",
        text(key),
        text("cpu"),
        integer(count if elements is None else elements),
    )
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n"
        + _tuple(
            (
                _tuple(reference) + b"Q",
                integer(start),
                _tuple(map(integer, shape)),
                _tuple(map(integer, dense if strides is None else strides)),
                b"\x89",
                b"ccollections\nOrderedDict\n)R",
            )
        )
        + b"R"
    )


def state_dict(items: Mapping[str, bytes]) -> bytes:
    """A whole pickle of a dict, values given as operations."""
    pairs = b"".join(text(name) + value for name, value in items.items())
    return b"\x80\x02ccollections\nOrderedDict\n)Rq\x00(" + pairs + b"u."


def torch_archive(
    path: Path, pickle: bytes, data: Mapping[str, bytes], *, compression: int = zipfile.ZIP_STORED
) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickle)
        archive.writestr("archive/byteorder", "little")
        for key, content in data.items():
            archive.writestr(f"archive/data/{key}", content)
        archive.writestr("archive/version", "3\n")
    return path


def write_torch(path: Path, tensors: Mapping[str, RawTensor]) -> Path:
    """What torch.save makes of the tensors, each in a storage of its own."""
    pickled = {
        name: pickled_tensor(str(i), shape, storage=_STORAGES[dtype])
        for i, (name, (dtype, shape, _)) in enumerate(tensors.items())
    }
    data = {str(i): content for i, (_, _, content) in enumerate(tensors.values())}
    return torch_archive(path, state_dict(pickled), data)
