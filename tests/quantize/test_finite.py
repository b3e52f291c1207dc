"""What is no number is found, where it stands, in every type."""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from localq.formats.rows import ELEMENT_BYTES, stored_row_bytes
from localq.formats.types import TensorType
from localq.quantize.finite import row_not_finite
from localq.quantize.native import load_codecs

# ggml refuses every Q8_1, and looks at a float64 as if it were a float32.
CHECKED = [type_ for type_ in TensorType if type_.name not in ("Q8_1", "F64")]


def ggml_accepts(type_: TensorType, data: bytes) -> bool:
    load_codecs()  # so that the library is there
    spec = find_spec("llama_cpp")
    assert spec is not None
    assert spec.origin is not None
    library = ctypes.CDLL(str(next((Path(spec.origin).parent / "lib").glob("*ggml-base.*"))))
    validate = library.ggml_validate_row_data
    validate.restype = ctypes.c_bool
    validate.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]
    return bool(validate(type_.ggml_id, data, len(data)))


@pytest.mark.parametrize("type_", CHECKED, ids=lambda type_: type_.name)
def test_llama_cpp_accepts_the_same_bytes(type_: TensorType) -> None:
    rng = np.random.default_rng(type_.ggml_id)
    row_bytes = type_.row_bytes(512)
    verdicts = set()
    for i in range(100):
        data = rng.integers(0, 256, row_bytes, np.uint8)
        more = rng.integers(0, 256, row_bytes, np.uint8)
        data = data & more & 0xB3 if i % 2 else data | more  # mostly good ones; mostly bad ones
        found = row_not_finite(type_.name, data, row_bytes)
        assert (found is None) == ggml_accepts(type_, data.tobytes())
        verdicts.add(found is None)
    assert True in verdicts
    assert len(verdicts) == 2 or type_ in NOTHING_TO_FIND


NOTHING_TO_FIND = {TensorType[name] for name in ("I8", "I16", "I32", "I64", "NVFP4")}


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("row", [0, 3, 6])
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F8_E5M2"])
def test_the_row_that_holds_it(dtype: str, value: float, row: int, aligned: bool) -> None:
    numbers = np.linspace(-2, 2, 7 * 40, dtype=np.float32).reshape(7, 40)
    numbers[row, 17] = value
    data = stored(numbers, dtype)
    if not aligned:
        data = np.concatenate([np.zeros(1, np.uint8), data])[1:]
    assert row_not_finite(dtype, data, stored_row_bytes(dtype, 40)) == row
    numbers[row, 17] = 0
    assert row_not_finite(dtype, stored(numbers, dtype), stored_row_bytes(dtype, 40)) is None


def stored(
    numbers: np.ndarray[tuple[int, ...], np.dtype[np.float32]], dtype: str
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The upper bytes of a float32, or of a float16, are the shorter types' numbers."""
    if dtype in ("F16", "F8_E5M2"):
        numbers = numbers.astype(np.float16)
    size = ELEMENT_BYTES[dtype]
    return np.ascontiguousarray(
        numbers.view(np.uint8).reshape(-1, numbers.itemsize)[:, -size:]
    ).ravel()


@pytest.mark.parametrize("byte", [0x7F, 0xFF])
def test_e4m3_has_nan_and_no_infinity(byte: int) -> None:
    data = np.full(30, 0x7E, np.uint8)
    data[1::2] = 0xFE
    assert row_not_finite("F8_E4M3", data, 10) is None
    data[25] = byte
    assert row_not_finite("F8_E4M3", data, 10) == 2


def test_no_rows_hold_nothing() -> None:
    assert row_not_finite("F32", np.empty(0, np.uint8), 40) is None
    assert row_not_finite("Q4_K", np.empty(0, np.uint8), 144) is None
