"""Weights in 8-bit floats, and the factors beside them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localq.convert.float8 import attach_scales
from localq.convert.source_tensor import SourceTensor
from localq.errors import BadFileError, LocalqError, UnsupportedError
from localq.events import ignore
from localq.formats.gguf import Field, ValueType, read_gguf
from localq.formats.rows import BlockScales, FilePiece, TensorSource
from localq.formats.safetensors import TensorInfo
from localq.formats.types import QuantType
from localq.quantize.layout import lay_out
from localq.quantize.options import QuantOptions
from localq.quantize.writer import write_file

BLOCKS: dict[str, Any] = {"quant_method": "fp8", "weight_block_size": [128, 128]}
CHANNELS: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "float-quantized",
    "config_groups": {"group_0": {"weights": {"type": "float", "num_bits": 8}}},
}


def tensor(name: str, dtype: str, *shape: int) -> SourceTensor:
    return SourceTensor(Path("model.safetensors"), TensorInfo(name, dtype, shape, 0, 0))


def attach(
    config: object, weight: tuple[int, ...], factors: tuple[int, ...], suffix: str = "_scale_inv"
) -> SourceTensor:
    tensors = {
        "a.weight": tensor("a.weight", "F8_E4M3", *weight),
        f"a.weight{suffix}": tensor(f"a.weight{suffix}", "F32", *factors),
        "a.input_scale": tensor("a.input_scale", "F32", 1),
    }
    found = attach_scales(Path("checkpoint"), config, tensors)
    assert list(found) == ["a.weight"]
    return found["a.weight"]


@pytest.mark.parametrize(
    ("config", "weight", "factors", "suffix", "block"),
    [
        (BLOCKS, (256, 300), (2, 3), "_scale_inv", (128, 128)),
        (BLOCKS, (4, 256, 300), (4, 2, 3), "_scale_inv", (128, 128)),
        ({"quant_method": "fp8"}, (256, 300), (), "_scale_inv", (256, 300)),
        ({"quant_method": "fp8"}, (256, 300), (2, 3), "_scale_inv", (128, 128)),
        ({"quant_method": "fp8"}, (4, 256, 300), (4, 1, 1), "_scale_inv", (256, 300)),
        (CHANNELS, (256, 300), (256, 1), "_scale", (1, 300)),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, (8, 4), (1,), "_scale", (8, 4)),
    ],
)
def test_the_block_follows_from_config_and_shapes(
    config: object,
    weight: tuple[int, ...],
    factors: tuple[int, ...],
    suffix: str,
    block: tuple[int, int],
) -> None:
    scales = attach(config, weight, factors, suffix).scales
    assert scales is not None
    assert (scales.rows, scales.columns) == block


@pytest.mark.parametrize(
    ("config", "weight", "factors", "error"),
    [
        ({"quant_method": "awq"}, (8, 4), (1,), UnsupportedError),
        ({**CHANNELS, "format": "pack-quantized"}, (8, 4), (1,), UnsupportedError),
        ("fp8", (8, 4), (1,), UnsupportedError),
        ({"quant_method": "fp8", "weight_block_size": [0, 128]}, (8, 4), (1,), BadFileError),
        (BLOCKS, (256, 300), (3, 2), BadFileError),
        (BLOCKS, (0, 300), (0, 3), BadFileError),
        (BLOCKS, (300,), (3,), BadFileError),
    ],
)
def test_what_does_not_fit_is_refused(
    config: object, weight: tuple[int, ...], factors: tuple[int, ...], error: type[LocalqError]
) -> None:
    with pytest.raises(error):
        attach(config, weight, factors)


def test_weights_without_their_factors_are_refused() -> None:
    with pytest.raises(BadFileError, match="beside it"):
        attach_scales(Path("c"), BLOCKS, {"a.weight": tensor("a.weight", "F8_E4M3", 8, 4)})


@pytest.mark.parametrize("order", [None, np.array([9, 0, 5, 11, 2], np.intp)])
def test_each_block_is_multiplied_by_its_own_factor(
    order: np.ndarray[Any, np.dtype[np.intp]] | None, tmp_path: Path
) -> None:
    """Two stacked matrices of 6 x 10 in blocks of 4 x 4, which reach over every edge."""
    bits = np.arange(120, dtype=np.uint8).reshape(12, 10)
    factors = np.arange(1, 13, dtype="<f4").reshape(4, 3)
    path = tmp_path / "weights"
    path.write_bytes(bits.tobytes() + factors.tobytes())
    source = FilePiece(path, bits.size, "F32", 4, 3)
    scales = BlockScales(source, rows=4, columns=4, height=6)
    piece = FilePiece(path, 0, "F8_E4M3", 12, 10, order, scales=scales)
    tensors = [TensorSource("a.weight", (10, piece.rows), (piece,))]
    fields = {"general.file_type": Field(ValueType.UINT32, 0)}
    output = tmp_path / "out.gguf"
    layout = lay_out(fields, tensors, QuantOptions(QuantType.F32))
    write_file(output, layout, threads=1, emit=ignore, cancel=threading.Event())
    placed = read_gguf(output).tensors[0]
    written = np.fromfile(output, "<f4", piece.rows * 10, offset=placed.offset)

    exponent, fraction = bits >> 3, (bits & 7) / 8
    values = np.where(exponent > 0, (1 + fraction) * 2.0 ** (exponent - 7.0), fraction / 64)
    wide = factors.repeat(4, axis=1)[:, :10]
    expected = values * wide[[0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3]]
    if order is not None:
        expected = expected[order]
    np.testing.assert_array_equal(written.reshape(-1, 10), expected.astype(np.float32))
