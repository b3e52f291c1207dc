"""Importance matrix files: both formats give the codecs the same numbers; what lies is refused."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localq.errors import BadFileError, NotFoundError, StorageError
from localq.formats.gguf import Field, TensorLayout, ValueType, encode_header, read_gguf
from localq.formats.rows import ArrayPiece, TensorSource
from localq.formats.types import QuantType, TensorType
from localq.quantize.imatrix import Counts, Floats, Imatrix, read_imatrix, write_imatrix
from localq.quantize.layout import lay_out_quantization
from localq.quantize.options import QuantOptions

SUMS: dict[str, tuple[Floats, Counts]] = {
    "blk.0.ffn_up_exps.weight": (
        np.array([1, 2, 3, 0, 0, 0, 10, 20, 40], np.float32),
        np.array([2, 0, 10]),
    ),
    "blk.0.attn_q.weight": (np.array([0.5, 7, 1e-9, 3], np.float32), np.array([96])),
}
MEANS = {
    "blk.0.attn_q.weight": np.array([0.5, 7, 1e-9, 3], np.float32) / np.float32(96),
    # the second expert was never used: its columns count alike
    "blk.0.ffn_up_exps.weight": np.array([0.5, 1, 1.5, 1, 1, 1, 1, 2, 4], np.float32),
}
METADATA = {
    "imatrix.datasets": Field(ValueType.ARRAY, ["a.txt"], ValueType.STRING),
    "imatrix.chunk_count": Field(ValueType.UINT32, 3),
    "imatrix.chunk_size": Field(ValueType.UINT32, 32),
}


def gguf_imatrix(path: Path, datasets: Sequence[str] = ("text/a.txt", "b.txt")) -> Path:
    write_imatrix(path, SUMS, datasets=datasets, chunk_count=3, chunk_size=32)
    return path


def legacy_bytes(calls: int = 3, trailer: bytes | None = None) -> bytes:
    """The same means in the old format: multiplied by the number of calls."""
    parts = [struct.pack("<i", len(MEANS))]
    for name, means in MEANS.items():
        values = (means * np.float32(calls or 1)).astype("<f4")
        parts += [struct.pack("<i", len(name)), name.encode()]
        parts += [struct.pack("<ii", calls, values.size), values.tobytes()]
    if trailer is None:
        trailer = struct.pack("<ii", calls, 10) + b"text/a.txt"
    return b"".join(parts) + trailer


def same_entries(imatrix: Imatrix) -> bool:
    return imatrix.entries.keys() == MEANS.keys() and all(
        values.dtype == np.float32 and np.allclose(values, MEANS[name], rtol=1e-6, atol=0)
        for name, values in imatrix.entries.items()
    )


def test_both_formats_give_the_same_matrix(tmp_path: Path) -> None:
    new = read_imatrix(gguf_imatrix(tmp_path / "new.gguf"))
    path = tmp_path / "old.dat"
    path.write_bytes(legacy_bytes())
    old = read_imatrix(path)
    for imatrix in (new, old):
        assert same_entries(imatrix)
        assert (imatrix.dataset, imatrix.chunks) == ("text/a.txt", 3)
    assert (new.path, old.path) == (tmp_path / "new.gguf", path)


def test_what_is_written_is_laid_out_as_llama_imatrix_does(tmp_path: Path) -> None:
    file = read_gguf(gguf_imatrix(tmp_path / "i.gguf"))
    assert list(file.metadata.items()) == [
        ("general.type", "imatrix"),
        ("imatrix.datasets", ["text/a.txt", "b.txt"]),
        ("imatrix.chunk_count", 3),
        ("imatrix.chunk_size", 32),
    ]
    assert [(t.name, t.shape) for t in file.tensors] == [
        ("blk.0.attn_q.weight.in_sum2", (4,)),
        ("blk.0.attn_q.weight.counts", (1,)),
        ("blk.0.ffn_up_exps.weight.in_sum2", (3, 3)),
        ("blk.0.ffn_up_exps.weight.counts", (1, 3)),
    ]
    assert file.size_bytes % 32 == 0


def test_a_full_or_forbidden_disk_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        gguf_imatrix(tmp_path / "no such folder" / "i.gguf")


def test_the_metadata_of_a_file_made_with_it() -> None:
    entries = {"a": np.ones(1, np.float32)}
    known = Imatrix(Path("i.gguf"), "text.txt", 7, entries)
    assert [(key, field.type.name, field.value) for key, field in known.fields().items()] == [
        ("quantize.imatrix.file", "STRING", "i.gguf"),
        ("quantize.imatrix.dataset", "STRING", "text.txt"),
        ("quantize.imatrix.entries_count", "UINT32", 1),
        ("quantize.imatrix.chunks_count", "UINT32", 7),
    ]
    unknown = Imatrix(Path("i.dat"), None, 0, entries)
    assert list(unknown.fields()) == ["quantize.imatrix.file", "quantize.imatrix.entries_count"]


def test_long_texts_are_cut_where_llama_cpp_cuts_them() -> None:
    name = "é" * 100
    file = Imatrix(Path(name), name, 1, {}).fields()["quantize.imatrix.file"]
    assert isinstance(file.value, str)
    assert file.value.encode("utf-8", "surrogateescape") == name.encode()[:127]


@pytest.mark.parametrize(
    ("trailer", "chunks", "dataset"),
    [
        (b"", 0, None),
        (b"\1\0", 0, None),
        (struct.pack("<i", 8), 8, None),
        (struct.pack("<ii", 8, 0), 8, None),
        (struct.pack("<ii", 8, 99) + b"cut", 8, None),
        (struct.pack("<ii", 8, -1), 8, None),
        (struct.pack("<ii", 8, 5) + b"a\0txt", 8, "a"),
    ],
)
def test_the_end_of_an_old_file_is_optional(
    tmp_path: Path, trailer: bytes, chunks: int, dataset: str | None
) -> None:
    path = tmp_path / "old.dat"
    path.write_bytes(legacy_bytes(trailer=trailer))
    imatrix = read_imatrix(path)
    assert same_entries(imatrix)
    assert (imatrix.chunks, imatrix.dataset) == (chunks, dataset)


def test_an_old_file_without_calls_holds_the_means_themselves(tmp_path: Path) -> None:
    path = tmp_path / "old.dat"
    path.write_bytes(legacy_bytes(calls=0))
    assert same_entries(read_imatrix(path))


def test_a_matrix_made_of_no_named_text(tmp_path: Path) -> None:
    assert read_imatrix(gguf_imatrix(tmp_path / "i.gguf", datasets=())).dataset is None


def tensors_file(
    path: Path,
    tensors: Sequence[TensorLayout],
    data: Sequence[float],
    *,
    without: str = "",
    chunks: Field = METADATA["imatrix.chunk_count"],
) -> Path:
    fields = {**METADATA, "imatrix.chunk_count": chunks}
    fields.pop(without, None)
    body = np.array(data, "<f4").tobytes()
    path.write_bytes(encode_header(fields.items(), tensors) + body)
    return path


def pair(
    columns: int = 2, counts: int = 1, *, type_: TensorType = TensorType.F32
) -> Sequence[TensorLayout]:
    return (
        TensorLayout("a.in_sum2", type_, (columns,), 0),
        TensorLayout("a.counts", TensorType.F32, (counts,), 32),
    )


NUMBERS = (*[1.0] * 8, *[4.0] * 8)


def test_counts_are_rounded(tmp_path: Path) -> None:
    path = tensors_file(tmp_path / "i.gguf", pair(), (*NUMBERS[:8], 1.5))
    assert read_imatrix(path).entries["a"].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("key", METADATA)
def test_a_gguf_of_another_kind_is_refused(tmp_path: Path, key: str) -> None:
    path = tensors_file(tmp_path / "i.gguf", pair(), NUMBERS, without=key)
    with pytest.raises(BadFileError, match=f"not an importance matrix: it has no {key}"):
        read_imatrix(path)


@pytest.mark.parametrize(
    ("tensors", "data", "problem"),
    [
        ((), (), "it has no entries"),
        (pair()[:1], NUMBERS, "'a' has sums or counts, not both"),
        (pair()[1:], NUMBERS, "'a' has sums or counts, not both"),
        (pair(type_=TensorType.F16), NUMBERS, "'a.in_sum2' is not F32"),
        (pair(columns=0), NUMBERS, "'a.in_sum2' is not F32, or empty"),
        (pair(columns=3, counts=2), NUMBERS, "3 sums for 2 counts"),
        (pair(), (math.nan, *NUMBERS[1:]), "'a' holds NaN or infinity"),
        (pair(), (math.inf, *NUMBERS[1:]), "'a' holds NaN or infinity"),
        (pair(), (*NUMBERS[:8], math.nan), "'a' has impossible counts"),
        (pair(), (*NUMBERS[:8], 1e30), "'a' has impossible counts"),
        (
            [TensorLayout(f"{i}.in_sum2", TensorType.F32, (256,), 0) for i in range(64)],
            [1.0] * 256,
            "its tensors overlap",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(
    tmp_path: Path, tensors: Sequence[TensorLayout], data: Sequence[float], problem: str
) -> None:
    path = tensors_file(tmp_path / "i.gguf", tensors, data)
    with pytest.raises(BadFileError) as caught:
        read_imatrix(path)
    assert problem in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_count_of_another_type_is_refused(tmp_path: Path) -> None:
    text = Field(ValueType.STRING, "three")
    path = tensors_file(tmp_path / "i.gguf", pair(), NUMBERS, chunks=text)
    with pytest.raises(BadFileError, match="chunk_count is not a 32-bit number"):
        read_imatrix(path)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "the number of entries does not fit"),
        (b"hello world, this is a text file", "not an importance matrix"),
        (struct.pack("<i", 0), "not an importance matrix"),
        (struct.pack("<i", -1), "not an importance matrix"),
        (struct.pack("<ii", 1, 1 << 30) + bytes(30), "does not fit into the file"),
        (struct.pack("<ii", 1, -5) + bytes(30), "does not fit into the file"),
        (struct.pack("<iisii", 1, 1, b"a", 1, 1 << 30) + bytes(30), "does not fit into the file"),
        (struct.pack("<iisii", 1, 1, b"a", 1, 0) + bytes(30), "is empty"),
        (struct.pack("<iisiif", 1, 1, b"a", 1, 1, math.nan), "holds NaN or infinity"),
    ],
)
def test_no_old_file(tmp_path: Path, data: bytes, problem: str) -> None:
    path = tmp_path / "old.dat"
    path.write_bytes(data)
    with pytest.raises(BadFileError, match=problem):
        read_imatrix(path)


def test_what_is_not_there_or_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such file"):
        read_imatrix(tmp_path / "i.gguf")
    with pytest.raises(BadFileError, match="cannot be read"):
        read_imatrix(tmp_path)


def read_or_refuse(path: Path) -> None:
    try:
        imatrix = read_imatrix(path)
    except BadFileError:
        return
    assert imatrix.entries
    total = sum(values.nbytes for values in imatrix.entries.values())
    assert total <= path.stat().st_size
    assert all(np.isfinite(values).all() for values in imatrix.entries.values())


@pytest.mark.parametrize("old", [False, True])
def test_every_truncation_is_read_or_refused(tmp_path: Path, old: bool) -> None:
    path = tmp_path / "i"
    whole = legacy_bytes() if old else gguf_imatrix(path).read_bytes()
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        read_or_refuse(path)


ANY_TEST = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("old", [False, True])
@ANY_TEST
@given(position=st.integers(0, 1 << 12), value=st.binary(min_size=1, max_size=9))
def test_any_damage_is_read_or_refused(
    tmp_path: Path, old: bool, position: int, value: bytes
) -> None:
    path = tmp_path / "i"
    data = bytearray(legacy_bytes() if old else gguf_imatrix(path).read_bytes())
    position %= len(data)
    data[position : position + len(value)] = value
    path.write_bytes(data)
    read_or_refuse(path)


@ANY_TEST
@given(
    count=st.integers(-2, 4),
    entries=st.lists(
        st.tuples(
            *(st.integers(-3, 40), st.binary(max_size=9), st.integers(-(2**31), 2**31 - 1)),
            *(st.integers(-3, 20), st.binary(max_size=24)),
        ),
        max_size=4,
    ),
    trailer=st.binary(max_size=16),
)
def test_old_files_of_any_numbers_are_read_or_refused(
    tmp_path: Path,
    count: int,
    entries: list[tuple[int, bytes, int, int, bytes]],
    trailer: bytes,
) -> None:
    path = tmp_path / "i"
    body = b"".join(
        struct.pack("<i", length) + name + struct.pack("<ii", calls, values) + data
        for length, name, calls, values, data in entries
    )
    path.write_bytes(struct.pack("<i", count) + body + trailer)
    read_or_refuse(path)


def test_values_that_are_all_zero_count_as_alike(tmp_path: Path) -> None:
    """Of a whole matrix or of an expert: by zeros no error counts, and its numbers would go."""
    rows = np.random.default_rng(3).normal(size=(6, 256)).astype(np.float32)
    source = TensorSource("blk.0.ffn_down_exps.weight", (256, 2, 3), (ArrayPiece(rows),))
    weights = np.zeros((3, 256), np.float32)
    weights[1] = np.arange(256)
    fields = {"general.architecture": Field(ValueType.STRING, "llama")}
    options = QuantOptions(QuantType.Q2_K, pure=True)
    imatrix = Imatrix(Path("i.gguf"), None, 1, {source.name: weights.ravel()})
    (tensor,) = lay_out_quantization(fields, [source], options, imatrix).tensors
    assert tensor.weights is not None
    kept = tensor.weights.reshape(3, 256)
    assert (kept[1] == weights[1]).all()
    assert (kept[[0, 2]] == 1).all()
