"""Numbers at which ggml's searches would end the process are refused instead."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from localq.errors import BadFileError
from localq.formats.rows import ArrayPiece, MappedFiles, TensorSource
from localq.formats.types import QuantType
from localq.quantize.blocks import cut
from localq.quantize.codecs.fast import load_fast_codecs
from localq.quantize.codecs.library import CODECS_VARIABLE
from localq.quantize.encoder import Buffers, Encoder
from localq.quantize.imatrix import Imatrix
from localq.quantize.layout import lay_out
from localq.quantize.native import Floats
from localq.quantize.options import QuantOptions

NAME = "blk.0.ffn_down.weight"


def encode(numbers: Floats, quant: QuantType, imatrix: Imatrix | None = None) -> None:
    source = TensorSource(NAME, numbers.shape[::-1], (ArrayPiece(numbers),))
    layout = lay_out({}, [source], QuantOptions(quant, pure=True), imatrix)
    encoder = Encoder(layout, MappedFiles())
    for block in cut(layout):
        encoder.encode(block, Buffers())


@pytest.mark.parametrize("codecs", ["engine", ""])
def test_numbers_too_large_for_a_lattice(codecs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CODECS_VARIABLE, codecs)
    monkeypatch.setattr("localq.quantize.encoder.load_fast_codecs", load_fast_codecs.__wrapped__)
    numbers = np.ones((3, 256), np.float32)
    encode(numbers, QuantType.IQ3_S)
    numbers[2, 7] = -1e30
    with pytest.raises(BadFileError, match="too large for IQ3_S in row 2"):
        encode(numbers, QuantType.IQ3_S)


@pytest.mark.parametrize("value", [-1.0, 1e30])
def test_weights_that_are_no_mean_of_squares(value: float, tmp_path: Path) -> None:
    weights = np.ones(256, np.float32)
    weights[3] = value
    imatrix = Imatrix(tmp_path / "a.imatrix", None, 1, {NAME: weights})
    with pytest.raises(BadFileError, match=f"no mean of squares for {NAME}"):
        encode(np.ones((3, 256), np.float32), QuantType.IQ3_S, imatrix)
