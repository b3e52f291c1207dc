"""Checkpoints whose weights are packed: seen by their tensors, whatever the config says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from localq.convert.source_tensor import SourceTensor
from localq.errors import UnsupportedError
from localq.messages import msg

__all__ = ["already_quantized", "holds_packed_weights", "refuse_unannounced"]

_NUMBERS = frozenset(["F64", "F32", "F16", "BF16"])
_PACKED_NAMES = (".qweight", ".weight_packed", ".qzeros")
"""What GPTQ, AWQ and compressed-tensors call packed matrices; nobody else uses these names."""


def holds_packed_weights(tensors: Mapping[str, SourceTensor]) -> bool:
    """Whether a matrix is of anything but plain numbers.

    Masks and positions, of integers too, have one row.
    """
    matrices = (t.info for t in tensors.values() if len(t.info.shape) > 1 and t.info.shape[0] > 1)
    return any(info.dtype not in _NUMBERS for info in matrices)


def refuse_unannounced(root: Path, tensors: Mapping[str, SourceTensor]) -> None:
    """UnsupportedError for packed weights of which config.json says nothing, as older GPTQ and AWQ
    checkpoints have them."""
    if any(name.endswith(_PACKED_NAMES) for name in tensors):
        raise already_quantized(root, "GPTQ, AWQ or the like")


def already_quantized(root: Path, method: str) -> UnsupportedError:
    """The refusal, for the caller to raise."""
    return UnsupportedError(
        msg("{root}: the checkpoint is already quantized ({method})", root=root, method=method),
        hint=msg("take the original checkpoint in BF16 or F16"),
    )
