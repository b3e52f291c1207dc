"""Layers that keep a state instead of keys and values: Mamba, and the layers of hybrids.

Reference: llama.cpp `conversion/mamba.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from localq.convert.families.decoder import Decoder, TensorNames
from localq.convert.source_tensor import SourceTensor
from localq.errors import BadFileError
from localq.formats.rows import TensorSource, Transform
from localq.messages import msg

__all__ = ["LONGEST", "StateSpace", "negative_exponential", "state_names", "state_vectors"]

LONGEST = 1 << 20
"""The length of texts that is written for models without one: a state does not grow."""


def negative_exponential(first: int, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return -np.exp(rows.astype(np.float64)).astype(np.float32)


def state_names(prefix: str) -> TensorNames:
    """Names of the matrices of a layer whose own begin with `prefix`."""
    return {
        f"{prefix}.in_proj": "blk.{i}.ssm_in",
        f"{prefix}.conv1d": "blk.{i}.ssm_conv1d",
        f"{prefix}.out_proj": "blk.{i}.ssm_out",
    }


def state_vectors(prefix: str) -> TensorNames:
    """Those with names that end in no suffix, for `exact`."""
    return {f"{prefix}.A_log": "blk.{i}.ssm_a", f"{prefix}.D": "blk.{i}.ssm_d"}


class StateSpace(Decoder):
    """Decays are kept as logarithms in checkpoints; the convolution's weights are a matrix.

    In the second Mamba each head has one decay, which is a column, and norms come in groups.
    """

    has_heads: ClassVar[bool] = True
    vocabulary_multiple: int = 1
    """The vocabulary's rows are filled up to a multiple of it."""

    def fill_up(self) -> None:
        """Round vocab_size up as the embeddings are in the published checkpoints."""
        if self.config.get("pad_vocab_size_multiple") is not None:
            multiple = self.integer("pad_vocab_size_multiple", most=1 << 16)
        else:
            multiple = self.vocabulary_multiple
        self.config["vocab_size"] = -(-self.integer("vocab_size") // multiple) * multiple

    def norm_groups(self) -> int:
        return self.integer("n_groups", "mamba_n_groups")

    def transform(self, name: str, dtype: str) -> Transform | None:
        return negative_exponential if name.endswith(".A_log") else None

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        shape = source.info.shape
        made = self.gguf_name(name, source)
        kind = made.rpartition("blk.")[2].partition(".")[2]
        if kind == "ssm_conv1d.weight":
            yield self._reshaped(name, source, [size for size in shape if size > 1])
        elif kind in ("ssm_a", "ssm_d") and len(shape) == 1 and self.has_heads:
            yield self._reshaped(name, source, [*shape, 1])
        elif kind == "ssm_norm.weight":
            groups = self.norm_groups()
            if prod(shape) % groups:
                raise BadFileError(
                    source.path,
                    msg("tensor {name!r} has shape {list}", name=name[:200], list=list(shape)),
                )
            yield self._reshaped(name, source, [groups, prod(shape) // groups])
        else:
            yield from super().tensors_of(name, source)

    def _reshaped(self, name: str, source: SourceTensor, shape: list[int]) -> TensorSource:
        piece = self.piece(name, source)
        columns = shape[-1] if len(shape) > 1 else piece.file_rows * piece.file_columns
        rows = prod(shape) // columns
        if rows * columns != piece.file_rows * piece.file_columns or piece.transposed:
            raise BadFileError(
                source.path,
                msg("tensor {name!r} has shape {list}", name=name[:200], list=list(shape)),
            )
        whole = replace(piece, file_rows=rows, file_columns=columns)
        return self.source_of(self.gguf_name(name, source), shape, [whole])
