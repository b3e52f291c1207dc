"""GGUF headers: what is written is read again, what lies is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localq.errors import BadFileError, LocalqError, UsageError
from localq.formats.gguf import Field, TensorLayout, ValueType, encode_header, read_gguf
from localq.formats.types import QuantType, TensorType

FIELDS = {
    "general.architecture": Field(ValueType.STRING, "llama"),
    "general.file_type": Field(ValueType.UINT32, 2),
    "llama.rope.freq_base": Field(ValueType.FLOAT32, 10000.0),
    "tokens": Field(ValueType.ARRAY, ["a", "漢", "\udcff"], ValueType.STRING),
    "scores": Field(ValueType.ARRAY, [0.5, -1.0], ValueType.FLOAT32),
    "flag": Field(ValueType.BOOL, True),
    "big": Field(ValueType.UINT64, 1 << 63),
}
TENSORS = [
    TensorLayout("a.weight", TensorType.Q4_0, (64, 2), 0),
    TensorLayout("b", TensorType.F32, (3,), 96),
]


def gguf_file(path: Path) -> Path:
    path.write_bytes(encode_header(FIELDS.items(), TENSORS) + bytes(96 + 12))
    return path


def test_round_trip(tmp_path: Path) -> None:
    path = gguf_file(tmp_path / "m.gguf")
    file = read_gguf(path)
    assert dict(file.fields) == FIELDS
    assert [(t.name, t.type, t.shape, t.nbytes) for t in file.tensors] == [
        ("a.weight", TensorType.Q4_0, (64, 2), 72),
        ("b", TensorType.F32, (3,), 12),
    ]
    assert (file.architecture, file.quant, file.parameters) == ("llama", "Q4_0", 131)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    whole = gguf_file(tmp_path / "m.gguf").read_bytes()
    for length in range(len(whole)):
        path = tmp_path / "cut.gguf"
        path.write_bytes(whole[:length])
        with pytest.raises(BadFileError) as caught:
            read_gguf(path)
        assert caught.value.offset is not None


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (b"GGML" + bytes(40), "not a GGUF file"),
        (b"GGUF" + struct.pack("<IQQ", 9, 0, 0) + bytes(8), "version 9"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0) + bytes(8), "does not fit"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60) + bytes(8), "does not fit"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 50) + bytes(64), "string of"),
        (
            b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 0, 1 << 59),
            "does not fit",
        ),
        (
            b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<I", 99) + bytes(16),
            "unknown metadata type 99",
        ),
        (
            b"GGUF"
            + struct.pack("<IQQQ", 3, 0, 1, 1)
            + b"k"
            + struct.pack("<I", 9)
            + struct.pack("<IQ", 9, 1) * 50,
            "nested too deeply",
        ),
    ],
)
def test_lies(tmp_path: Path, header: bytes, problem: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(header)
    with pytest.raises(BadFileError, match=problem):
        read_gguf(path)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 400), value=st.binary(min_size=1, max_size=9))
def test_any_damage_is_read_or_refused(tmp_path: Path, position: int, value: bytes) -> None:
    path = tmp_path / "m.gguf"
    data = bytearray(encode_header(FIELDS.items(), TENSORS) + bytes(108))
    position %= len(data)
    data[position : position + len(value)] = value
    path.write_bytes(data)
    try:
        file = read_gguf(path)
    except LocalqError:
        return
    assert all(t.offset + t.nbytes <= len(data) for t in file.tensors)


def test_row_bytes_of_whole_blocks_only() -> None:
    assert TensorType.Q4_0.row_bytes(64) == 36
    with pytest.raises(ValueError, match="whole Q4_0 blocks"):
        TensorType.Q4_0.row_bytes(33)


@pytest.mark.parametrize("text", ["q4_0", "Q4_0", " q4-0 ", "fp16", "Q4_k_M", "q4_k"])
def test_types_in_any_case(text: str) -> None:
    assert QuantType.parse(text) in (QuantType.Q4_0, QuantType.F16, QuantType.Q4_K_M)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("q4_x", "for example q4_0, q4_1, q4_k_m, q4_k_s"),
        ("int4", "for example q4_0, q4_k_m, q5_k_m, q6_k, q8_0, bf16, f16"),
    ],
)
def test_the_hint_for_a_wrong_type_is_short_and_sorted(text: str, hint: str) -> None:
    with pytest.raises(UsageError, match="unknown quantization type") as caught:
        QuantType.parse(text)
    assert str(caught.value.hint).startswith(hint)
    assert len(str(caught.value.hint)) < 120


@pytest.mark.parametrize("type_", [QuantType, TensorType])
def test_every_wrong_type_has_a_short_hint(type_: type[QuantType] | type[TensorType]) -> None:
    for wrong in ("", "q", "q4", "iq", "q4_k_xl", "x" * 10_000, "Q8_0 ;", "\x1b"):
        with pytest.raises(UsageError) as caught:
            type_.parse(wrong)
        assert len(str(caught.value.hint)) < 120


@pytest.mark.parametrize("text", ["q8_1", "Q8_K", "q8-1"])
def test_internal_types_are_answered_with_what_they_are(text: str) -> None:
    with pytest.raises(UsageError, match="is an internal type") as caught:
        QuantType.parse(text)
    assert "q8_0" in str(caught.value.hint)
