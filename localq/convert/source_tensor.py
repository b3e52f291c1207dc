"""Where a tensor of a checkpoint lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from localq.formats.safetensors import TensorInfo

__all__ = ["Scales", "SourceTensor"]


@dataclass(frozen=True, slots=True)
class SourceTensor:
    """A tensor and the shard it lies in; 8-bit floats may have factors to be multiplied by."""

    path: Path
    info: TensorInfo
    scales: Scales | None = None


@dataclass(frozen=True, slots=True)
class Scales:
    """The tensor of factors, one for each block of `rows` x `columns`."""

    tensor: SourceTensor
    rows: int
    columns: int
