"""Safetensors headers, honest and not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localq.errors import BadFileError, LocalqError
from localq.formats.safetensors import read_safetensors_header
from tests.checkpoints import write_safetensors


def lie(path: Path, header: Any, data: bytes = b"", *, length: int | None = None) -> Path:
    """A file whose header says `header`, whatever follows."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(dtype: str = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_reads_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"b": ("F32", (2,), b"12345678"), "a": ("BF16", (1, 2), b"abcd")})
    tensors = {tensor.name: tensor for tensor in read_safetensors_header(path)}
    data = path.read_bytes()
    assert tensors["a"].dtype == "BF16"
    assert tensors["a"].shape == (1, 2)
    for name, expected in (("a", b"abcd"), ("b", b"12345678")):
        start = tensors[name].offset
        assert data[start : start + tensors[name].nbytes] == expected


@pytest.mark.parametrize(
    ("header", "data", "length", "problem"),
    [
        ({}, b"", 1 << 60, "claims"),
        (b"", b"", 5, "claims"),
        (b"[" * 100_000, b"", None, "nested too deeply|not valid JSON"),
        (b'{"a": 1', b"", None, "not valid JSON"),
        (b"\xff\xfe", b"", None, "not valid UTF-8"),
        (b"[]", b"", None, "not a JSON object"),
        ({"a": 5}, b"", None, "not described by an object"),
        ({"a": entry(offsets=(0, 8))}, b"1234", None, "ends beyond the file"),
        ({"a": entry(offsets=(4, 0))}, b"1234", None, "ends beyond the file"),
        ({"a": entry(shape=(2,))}, b"1234", None, "does not take"),
        ({"a": entry(shape=(-1,))}, b"1234", None, "impossible shape"),
        ({"a": entry(shape=(1.5,))}, b"1234", None, "impossible shape"),
        ({"a": entry(shape=(1 << 70,))}, b"1234", None, "impossible shape"),
        ({"a": entry(shape=[1] * 100)}, b"1234", None, "impossible shape"),
        ({"a": entry(offsets=(0,))}, b"1234", None, "impossible data_offsets"),
        ({"a": entry(), "b": entry()}, b"1234", None, "overlaps"),
        ({"a": {"shape": [], "data_offsets": [0, 0]}}, b"", None, "no dtype"),
    ],
)
def test_a_lie_is_told_in_one_line(
    tmp_path: Path, header: Any, data: bytes, length: int | None, problem: str
) -> None:
    path = lie(tmp_path / "model.safetensors", header, data, length=length)
    with pytest.raises(BadFileError, match=problem) as caught:
        read_safetensors_header(path)
    assert str(path) in str(caught.value)
    assert caught.value.offset is not None
    assert "\n" not in str(caught.value)


def test_a_file_of_seven_bytes(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"1234567")
    with pytest.raises(BadFileError, match="7 bytes long"):
        read_safetensors_header(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    header=st.dictionaries(
        st.text(max_size=5),
        json_values
        | st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(["F32", "BF16", "X"]) | json_values,
                "shape": st.lists(st.integers(-2, 1 << 66), max_size=3) | json_values,
                "data_offsets": st.lists(st.integers(-4, 64), max_size=3) | json_values,
            }
        ),
        max_size=4,
    ),
    data=st.binary(max_size=32),
)
def test_any_header_is_read_or_refused(tmp_path: Path, header: Any, data: bytes) -> None:
    path = lie(tmp_path / "model.safetensors", header, data)
    try:
        tensors = read_safetensors_header(path)
    except LocalqError:
        return
    size = path.stat().st_size
    assert all(8 <= tensor.offset <= tensor.offset + tensor.nbytes <= size for tensor in tensors)
