"""PyTorch's own files, honest and not."""

from __future__ import annotations

import shutil
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localq.convert import convert_checkpoint, open_checkpoint
from localq.errors import BadFileError, LocalqError, UnsupportedError
from localq.formats.torch_pickle import PickleError, read_pickle
from localq.formats.torch_zip import read_torch_header
from localq.formats.types import QuantType
from tests.checkpoints import read_safetensors
from tests.convert.test_parity import write
from tests.services.test_quantize import DEMO
from tests.torch_files import (
    integer,
    pickled_tensor,
    state_dict,
    text,
    torch_archive,
    write_torch,
)

ONE = state_dict({"a": pickled_tensor("0", (2,))})
OPERATIONS = b"\x80\x95(0N\x88\x89KMJ\x8aGX\x8c\x8d}])\x85\x86\x87taesuqr\x94hjc\x93QRb."


def test_reads_what_was_written(tmp_path: Path) -> None:
    tensors = {"b": ("F32", (2,), b"12345678"), "a": ("BF16", (1, 2), b"abcd")}
    path = write_torch(tmp_path / "pytorch_model.bin", tensors)
    found = read_torch_header(path)
    assert [(t.name, t.dtype, t.shape) for t in found] == [
        ("b", "F32", (2,)),
        ("a", "BF16", (1, 2)),
    ]
    data = path.read_bytes()
    for tensor in found:
        content = data[tensor.offset : tensor.offset + tensor.nbytes]
        assert content == tensors[tensor.name][2]


def test_a_matrix_may_lie_there_column_by_column(tmp_path: Path) -> None:
    pickle = state_dict({"a": pickled_tensor("0", (2, 3), strides=(1, 2))})
    path = torch_archive(tmp_path / "pytorch_model.bin", pickle, {"0": bytes(24)})
    (tensor,) = read_torch_header(path)
    assert (tensor.shape, tensor.nbytes, tensor.transposed) == ((2, 3), 24, True)


def test_reads_what_torch_writes(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: torch)")
    whole = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    values = {
        "whole": whole,
        "row": whole[1],  # a view: it starts within its storage
        "parameter": torch.nn.Parameter(torch.ones(2, 2, dtype=torch.bfloat16)),
        "empty": torch.empty(0),
    }
    for protocol in (2, 4):
        path = tmp_path / f"{protocol}.bin"
        torch.save(values, path, pickle_protocol=protocol)
        found = {tensor.name: tensor for tensor in read_torch_header(path)}
        assert found.keys() == values.keys()
        data = path.read_bytes()
        for name, value in values.items():
            tensor = found[name]
            content = data[tensor.offset : tensor.offset + tensor.nbytes]
            assert content == value.detach().contiguous().view(torch.uint8).numpy().tobytes()
    module = torch.nn.Linear(2, 3)
    torch.save(module.state_dict(), tmp_path / "state.bin")
    assert {t.name for t in read_torch_header(tmp_path / "state.bin")} == {"weight", "bias"}
    torch.save({"a": whole.t()}, tmp_path / "turned.bin")
    (turned,) = read_torch_header(tmp_path / "turned.bin")
    assert (turned.shape, turned.transposed) == ((4, 3), True)
    torch.save({"a": whole[:, ::2]}, tmp_path / "view.bin")
    with pytest.raises(UnsupportedError, match="not in one run"):
        read_torch_header(tmp_path / "view.bin")
    torch.save(values, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    with pytest.raises(UnsupportedError, match=r"before its release 1\.6"):
        read_torch_header(tmp_path / "old.bin")
    torch.save(module, tmp_path / "module.bin")
    with pytest.raises(BadFileError, match="which tensors do not need"):
        read_torch_header(tmp_path / "module.bin")


def test_a_checkpoint_in_either_form_is_one_model(tmp_path: Path) -> None:
    root = tmp_path / DEMO.name
    shutil.copytree(DEMO, root)
    (root / "model.safetensors").unlink()
    write_torch(root / "pytorch_model.bin", read_safetensors(DEMO / "model.safetensors"))
    written = []
    for checkpoint in (DEMO, root):
        model = convert_checkpoint(open_checkpoint(checkpoint))
        path = write(model, QuantType.Q8_0, tmp_path)
        written.append(path.read_bytes())
        path.unlink()
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("pickle", "problem"),
    [
        (b"\x80\x02cposix\nsystem\n" + b"(" + text("true") + b"tR.", "posix system"),
        (b"\x80\x02" + text("os") + text("system") + b"\x93.", "os system"),
        (b"\x80\x02cbuiltins\neval\n.", "builtins eval"),
        (b"\x80\x02ccollections\nOrderedDict\n" + b"(" + text("a") + b"tR.", "not as PyTorch"),
        (b"i", "operation"),
        (b"", "cut short"),
        (b"\x80\x02X\xff\xff\xff\xffab", "cut short"),
        (b"\x8d" + b"\xff" * 8, "cut short"),
        (b"u.", "mark is missing"),
        (b"(u.", "expects a dict"),
        (b"}(" + b")" + b")u.", "neither a text nor a number"),
        (b"}(" + text("a") + b"u.", "no value"),
        (b".", "more from the stack"),
        (b"(.", "more from the stack"),
        (b"q\x00.", "more from the stack"),
        (b"j\xff\xff\xff\xff.", "never noted"),
        (b"c" + b"a" * 5000, "no end"),
        (b"X\x01\x00\x00\x00\xff.", "not UTF-8"),
        (b")Q.", "not one to a storage"),
        (b")R.", "more from the stack"),
        (text("a") + b")R.", "a call is none"),
        (b"N.", "no table"),
        (b"}.", "no tensors"),
        (state_dict({"a": pickled_tensor("1", (2,))}), "has no data"),
        (state_dict({"a": pickled_tensor("0", (3,))}), "larger than its data"),
        (state_dict({"a": pickled_tensor("0", (2,), start=1)}), "larger than its data"),
        (state_dict({"a": pickled_tensor("0", (2,), elements=1 << 60)}), "larger than its data"),
        (state_dict({"a": pickled_tensor("0", (2,), elements=-1)}), "negative"),
        (state_dict({"a": pickled_tensor("0", (-2,), elements=2)}), "not as PyTorch"),
        (state_dict({"a": pickled_tensor("0", (1 << 62,) * 4)}), "not as PyTorch"),
        (state_dict({"a": pickled_tensor("0", (1,) * 100)}), "not as PyTorch"),
        (state_dict({"a": pickled_tensor("0", (2,), storage="EvilStorage")}), "EvilStorage"),
        (state_dict({"a": pickled_tensor("0", (2,), strides=(2,))}), "not in one run"),
        (b"\x80\x02" + b")" + b"\x85" * 200_000 + integer(1) + b"0.", "no table"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refuses_lies(tmp_path: Path, pickle: bytes, problem: str) -> None:
    path = torch_archive(tmp_path / "pytorch_model.bin", pickle, {"0": b"12345678"})
    with pytest.raises(LocalqError, match=problem) as caught:
        read_torch_header(path)
    assert str(path) in str(caught.value)


def test_refuses_archives_that_cannot_be_mapped(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch_archive(path, ONE, {"0": b"1" * 800}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(BadFileError, match="compressed"):
        read_torch_header(path)
    whole = torch_archive(path, ONE, {"0": b"12345678"}).read_bytes()
    path.write_bytes(whole[:-30])
    with pytest.raises(BadFileError, match="cut short"):
        read_torch_header(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"")
    with pytest.raises(BadFileError, match=r"no data\.pkl"):
        read_torch_header(path)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(st.sampled_from([bytes([c]) for c in OPERATIONS] + [text("a"), integer(1)])).map(
            b"".join
        ),
    )
)
def test_any_pickle_is_read_or_refused(pickle: bytes) -> None:
    with suppress(PickleError):
        read_pickle(pickle)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = torch_archive(tmp_path / "pytorch_model.bin", ONE, {"0": b"12345678"})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        for tensor in read_torch_header(path):
            assert tensor.offset + tensor.nbytes <= len(content)
    except LocalqError:
        pass
