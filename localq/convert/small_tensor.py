"""The numbers of a tensor that is small enough to be looked at during a conversion."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from localq.convert.checkpoint import Checkpoint
from localq.convert.source_tensor import SourceTensor
from localq.errors import BadFileError, UnsupportedError
from localq.messages import msg

__all__ = ["as_floats", "read_floats"]

_FLOATS: Mapping[str, str] = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}
_MOST = 1 << 16
"""Numbers; more of them are no small tensor."""


def as_floats(data: bytes, dtype: str) -> npt.NDArray[np.float32] | None:
    """The numbers that these bytes of a checkpoint are, None for a dtype that is none of floats."""
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").astype(np.float32)
    if dtype not in _FLOATS:
        return None
    return np.frombuffer(data, _FLOATS[dtype]).astype(np.float32)


def read_floats(checkpoint: Checkpoint, source: SourceTensor) -> npt.NDArray[np.float32]:
    """All numbers of a small tensor, in a row. BadFileError for one that is not small."""
    info = source.info
    if info.elements > _MOST:
        raise BadFileError(
            source.path,
            msg("tensor {name!r} has shape {list}", name=info.name[:200], list=list(info.shape)),
        )
    values = as_floats(checkpoint.contents(source), info.dtype)
    if values is None:
        raise UnsupportedError(
            msg(
                "{path}: tensor {name!r} is {dtype}, unknown to localq",
                path=source.path,
                name=info.name[:200],
                dtype=info.dtype,
            ),
            hint=msg("take the original checkpoint in BF16 or F16"),
        )
    return values
