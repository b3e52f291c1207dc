"""The single pass: nothing half-made stays, whatever goes wrong."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import localq
from localq.errors import (
    BadFileError,
    Cancelled,
    LibraryError,
    LocalqError,
    NotFoundError,
    StorageError,
    UnsupportedError,
    UsageError,
)
from localq.events import JobEvent, Note, Progress, ignore
from localq.formats.gguf import read_gguf
from localq.formats.types import QuantType, TensorType
from localq.library import Library
from localq.library.hashes import SaidBy
from localq.paths import Paths
from localq.quantize.native import load_codecs
from localq.quantize.options import TypeRule
from localq.quantize.output import OutputFile
from localq.services.library.verify import Verdict, verify
from localq.services.make.preflight import preflight
from localq.services.make.quantize import QuantizeRequest, QuantizeResult, quantize
from tests.checkpoints import read_safetensors, write_safetensors

DEMO = Path(localq.__file__).parent / "demo" / "stories260K"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return shutil.copytree(DEMO, tmp_path / "stories")


def run(
    request: QuantizeRequest, *, emit: Any = ignore, cancel: threading.Event | None = None
) -> QuantizeResult:
    with Library() as library:
        return quantize(library, request, emit, cancel or threading.Event())


def edit_config(root: Path, **changes: object) -> None:
    path = root / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def left_behind(home: Paths) -> list[str]:
    """Files of the home that are no database."""
    return [
        path.name
        for path in home.data.rglob("*")
        if path.is_file() and not path.name.startswith("localq.db")
    ]


def test_into_the_library(home: Paths, checkpoint: Path) -> None:
    events: list[JobEvent] = []
    result = run(QuantizeRequest(QuantType.Q4_0, str(checkpoint)), emit=events.append)
    assert result.name == "local/stories:Q4_0"
    assert localq.model_path("stories:q4_0") == str(result.path)
    file = read_gguf(result.path)
    assert (file.quant, file.parameters) == ("Q4_0", result.parameters)
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[-1].done == progress[-1].total == result.size_bytes
    assert left_behind(home) == ["stories-Q4_0.gguf"]


def test_again_is_a_note_and_force_makes_it_anew(home: Paths, checkpoint: Path) -> None:
    first = run(QuantizeRequest(QuantType.Q8_0, str(checkpoint)))
    before = first.path.stat().st_mtime_ns
    events: list[JobEvent] = []
    again = run(QuantizeRequest(QuantType.Q8_0, str(checkpoint)), emit=events.append)
    assert again.already_there
    assert first.path.stat().st_mtime_ns == before
    assert any(isinstance(event, Note) and "--force" in event.text for event in events)
    anew = run(QuantizeRequest(QuantType.Q8_0, str(checkpoint), force=True))
    assert not anew.already_there
    assert first.path.stat().st_mtime_ns != before


def test_output_elsewhere_is_not_the_librarys(
    home: Paths, checkpoint: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.gguf"
    result = run(QuantizeRequest(QuantType.F16, str(checkpoint), target))
    assert (result.name, result.path) == (None, target)
    assert not home.data.exists()
    with pytest.raises(LibraryError, match="is there already"):
        run(QuantizeRequest(QuantType.F16, str(checkpoint), target))
    run(QuantizeRequest(QuantType.Q8_0, str(checkpoint), target, force=True))
    assert read_gguf(target).quant == "Q8_0"


def test_one_at_a_time_makes_a_file(home: Paths, checkpoint: Path, tmp_path: Path) -> None:
    target, other = tmp_path / "a.gguf", tmp_path / "b.gguf"
    refused: list[LocalqError] = []

    def meanwhile(event: JobEvent) -> None:
        if isinstance(event, Progress) and not other.exists():
            run(QuantizeRequest(QuantType.F16, str(checkpoint), other))
            try:
                run(QuantizeRequest(QuantType.F16, str(checkpoint), target))
            except LocalqError as error:
                refused.append(error)

    run(QuantizeRequest(QuantType.F16, str(checkpoint), target), emit=meanwhile)
    assert [error.message for error in refused] == ["another localq is making this very file"]
    assert target.read_bytes() == other.read_bytes()


def test_a_home_that_cannot_be_is_named(
    home: Paths, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCALQ_HOME", str(checkpoint / "config.json"))
    with pytest.raises(StorageError, match=r"config\.json.*Not a directory") as caught:
        run(QuantizeRequest(QuantType.F16, str(checkpoint), tmp_path / "a.gguf"))
    assert "LOCALQ_HOME" in str(caught.value.hint)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer_config.json", "config.json"])
def test_a_pipe_is_not_waited_for(home: Paths, checkpoint: Path, name: str) -> None:
    (checkpoint / name).unlink(missing_ok=True)
    os.mkfifo(checkpoint / name)
    with pytest.raises(BadFileError, match=f"{name}: is not a file"):
        run(QuantizeRequest(QuantType.F16, str(checkpoint)))


@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer_config.json"])
def test_a_link_to_what_was_deleted_is_no_absent_file(
    home: Paths, checkpoint: Path, name: str
) -> None:
    (checkpoint / name).unlink()
    (checkpoint / name).symlink_to(checkpoint / "gone")
    with pytest.raises(BadFileError, match=f"{name}: is a link to a file that is gone"):
        run(QuantizeRequest(QuantType.F16, str(checkpoint)))


def test_never_over_its_input(home: Paths, checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    with pytest.raises(UsageError, match=r"must be named \*\.gguf"):
        run(QuantizeRequest(QuantType.F16, str(checkpoint), weights, force=True))
    assert weights.read_bytes() == (DEMO / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda root: (root / "config.json").unlink(), NotFoundError, "no config.json"),
        (
            lambda root: (root / "config.json").write_text("{"),
            BadFileError,
            r"config\.json .*not valid JSON",
        ),
        (
            lambda root: edit_config(root, architectures=["XverseForCausalLM"]),
            UnsupportedError,
            "'XverseForCausalLM'",
        ),
        (lambda root: edit_config(root, architectures=None), BadFileError, "no model architecture"),
        (lambda root: edit_config(root, num_hidden_layers=-1), BadFileError, "num_hidden_layers"),
        (
            lambda root: edit_config(root, num_hidden_layers=10**9),
            BadFileError,
            "num_hidden_layers",
        ),
        (lambda root: edit_config(root, num_hidden_layers=3), UnsupportedError, "does not know"),
        (lambda root: edit_config(root, num_attention_heads=7), BadFileError, "heads"),
        (lambda root: edit_config(root, vocab_size=1 << 40), BadFileError, "vocab_size"),
        (lambda root: (root / "model.safetensors").unlink(), NotFoundError, "safetensors"),
        (
            lambda root: os.truncate(root / "model.safetensors", 300_000),
            BadFileError,
            "ends beyond the file",
        ),
        (lambda root: os.truncate(root / "model.safetensors", 100), BadFileError, "claims"),
        (
            lambda root: (root / "tokenizer.model").write_bytes(b"nonsense"),
            BadFileError,
            "tokenizer.model",
        ),
        (lambda root: (root / "tokenizer.model").unlink(), NotFoundError, "tokenizer"),
        (lambda root: edit_config(root, num_hidden_layers=6), BadFileError, "not whole"),
        (lambda root: edit_config(root, vocab_size=513), BadFileError, "512 rows"),
    ],
)
def test_a_bad_checkpoint_is_refused_in_one_line(
    home: Paths, checkpoint: Path, spoil: Any, error: type[LocalqError], message: str
) -> None:
    spoil(checkpoint)
    with pytest.raises(error, match=message) as caught:
        run(QuantizeRequest(QuantType.Q4_0, str(checkpoint)))
    assert str(checkpoint) in caught.value.message or error is UnsupportedError
    assert "\n" not in caught.value.message
    assert left_behind(home) == []


UP = "model.layers.0.mlp.up_proj.weight"
QUERY = "model.layers.0.self_attn.q_proj.weight"
NORM = "model.layers.1.input_layernorm.weight"


def with_number(root: Path, name: str, row: int, value: float, dtype: str) -> Path:
    """The demo's checkpoint in a dtype, with one number put into a tensor."""
    weights = root / "model.safetensors"
    tensors = {}
    for each, (_, shape, data) in read_safetensors(weights).items():
        bits = np.frombuffer(data, "<u2").astype("<u4") << 16
        numbers = bits.view("<f4").reshape(shape)
        if each == name:
            numbers[(row, 5)[: len(shape)]] = value
        if dtype == "BF16":
            stored = (numbers.view("<u4") >> 16).astype("<u2").tobytes()
        else:
            stored = numbers.astype({"F16": "<f2", "F32": "<f4"}[dtype]).tobytes()
        tensors[each] = (dtype, shape, stored)
    write_safetensors(weights, tensors)
    return root


@pytest.mark.parametrize("type_", ["Q4_0", "Q4_K_M", "Q8_0", "F16", "F32"])
@pytest.mark.parametrize(
    ("dtype", "name", "value"),
    [
        ("BF16", UP, math.nan),
        ("F32", UP, math.nan),
        ("F32", UP, -math.inf),
        ("F16", UP, math.inf),
        ("BF16", QUERY, -math.inf),  # whose rows are written in another order
        ("F32", NORM, math.nan),  # which is copied as it is
    ],
)
def test_weights_that_are_no_numbers(
    home: Paths,
    checkpoint: Path,
    capfd: pytest.CaptureFixture[str],
    dtype: str,
    name: str,
    value: float,
    type_: str,
) -> None:
    with_number(checkpoint, name, 3, value, dtype)
    with pytest.raises(BadFileError, match="NaN or infinity") as caught:
        run(QuantizeRequest(QuantType[type_], str(checkpoint)))
    assert caught.value.path == checkpoint / "model.safetensors"
    assert repr(name) in caught.value.message
    assert caught.value.message.endswith("in row 0" if name == NORM else "in row 3")
    assert left_behind(home) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("source", ["F32", "F16", "BF16", "Q8_0", "Q4_0"])
def test_a_gguf_whose_weights_are_no_numbers(
    home: Paths,
    checkpoint: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    source: str,
) -> None:
    made = run(QuantizeRequest(QuantType[source], str(checkpoint), tmp_path / "source.gguf"))
    tensor = next(t for t in read_gguf(made.path).tensors if t.name == "blk.2.ffn_up.weight")
    assert isinstance(tensor.type, TensorType)
    data = bytearray(made.path.read_bytes())
    at = tensor.offset + 3 * tensor.type.row_bytes(tensor.shape[0])
    data[at : at + 4] = b"\xff" * 4
    made.path.write_bytes(data)
    for type_ in ("Q4_0", "Q6_K", "F32"):
        request = QuantizeRequest(QuantType[type_], str(made.path), allow_requantize=True)
        with pytest.raises(BadFileError, match="NaN or infinity") as caught:
            run(request)
        assert "tensor 'blk.2.ffn_up.weight' holds" in caught.value.message
        assert caught.value.message.endswith("in row 3")
    assert left_behind(home) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("type_", "value"), [("F16", 1e6), ("BF16", 3.4028e38), ("Q8_0", 1e30)])
def test_numbers_too_large_for_the_type(
    home: Paths,
    checkpoint: Path,
    capfd: pytest.CaptureFixture[str],
    type_: str,
    value: float,
) -> None:
    with_number(checkpoint, UP, 3, value, "F32")
    with pytest.raises(BadFileError, match=f"numbers too large for {type_} in row 3") as caught:
        run(QuantizeRequest(QuantType[type_], str(checkpoint)))
    assert caught.value.hint
    assert left_behind(home) == []
    assert capfd.readouterr() == ("", "")


def test_an_unknown_dtype(home: Paths, tmp_path: Path) -> None:
    root = shutil.copytree(DEMO, tmp_path / "eight")
    write_safetensors(root / "model.safetensors", {"model.norm.weight": ("I8", (64,), bytes(64))})
    with pytest.raises(UnsupportedError, match="I8"):
        run(QuantizeRequest(QuantType.Q8_0, str(root)))


def test_cancelled_before_anything_is_finished_leaves_nothing(
    home: Paths, checkpoint: Path
) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        run(QuantizeRequest(QuantType.Q8_0, str(checkpoint)), cancel=cancel)
    assert left_behind(home) == []


def interrupted_after(blocks: int, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """A cancel event that is set when so many blocks have been written."""
    cancel = threading.Event()
    write, count = OutputFile.write, 0

    def counted(self: Any, data: Any, offset: int) -> None:
        nonlocal count
        write(self, data, offset)
        count += 1
        if count > blocks:
            cancel.set()

    monkeypatch.setattr(OutputFile, "write", counted)
    return cancel


def test_an_interrupted_run_goes_on(
    home: Paths, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(QuantizeRequest(QuantType.Q8_0, str(checkpoint), checkpoint / "whole.gguf"))
    request = QuantizeRequest(QuantType.Q8_0, str(checkpoint))
    with monkeypatch.context() as patch:
        cancel = interrupted_after(20, patch)
        with pytest.raises(Cancelled, match="goes on from here"):
            run(request, cancel=cancel)
    assert localq.Library().models() == []
    assert sorted(name.rpartition(".")[2] for name in left_behind(home)) == ["journal", "resumable"]
    written: list[int] = []
    write = OutputFile.write

    def counted(self: Any, data: Any, offset: int) -> None:
        written.append(offset)
        write(self, data, offset)

    monkeypatch.setattr(OutputFile, "write", counted)
    result = run(request)
    assert len(written) < 47 - 15  # the header, and the tensors that were not finished
    assert result.path.read_bytes() == whole.path.read_bytes()
    assert left_behind(home) == ["stories-Q8_0.gguf"]


def test_work_on_another_checkpoint_is_not_gone_on_with(
    home: Paths, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = QuantizeRequest(QuantType.Q8_0, str(checkpoint))
    with monkeypatch.context() as patch:
        cancel = interrupted_after(20, patch)
        with pytest.raises(Cancelled):
            run(request, cancel=cancel)
    weights = checkpoint / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-2000:] = bytes(2000)
    weights.write_bytes(data)
    result = run(request)
    other = run(QuantizeRequest(QuantType.Q8_0, str(checkpoint), checkpoint / "whole.gguf"))
    assert result.path.read_bytes() == other.path.read_bytes()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX")
def test_killed_at_any_moment(home: Paths, checkpoint: Path) -> None:
    """kill -9 after each of some numbers of writes, each run going on with the work before."""
    script = """
import os, signal, sys, threading
from pathlib import Path
from localq.events import ignore
from localq.formats.types import QuantType
from localq.library import Library
from localq.quantize import writer
from localq.quantize.output import OutputFile
from localq.services.make.quantize import QuantizeRequest, quantize
writer._FLUSH_SECONDS = 0.0
writer._PROGRESS_SECONDS = 0.0005
left = int(sys.argv[2])
write = OutputFile.write
def counted(self, data, offset):
    global left
    write(self, data, offset)
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
OutputFile.write = counted
with Library() as library:
    quantize(library, QuantizeRequest(QuantType.Q8_0, sys.argv[1]), ignore, threading.Event())
"""
    whole = run(QuantizeRequest(QuantType.Q8_0, str(checkpoint), checkpoint / "whole.gguf"))
    for writes in (0, 1, 7, 20, 33):
        command = [sys.executable, "-c", script, str(checkpoint), str(writes)]
        killed = subprocess.run(command, capture_output=True, check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert localq.Library().models() == []
    result = run(QuantizeRequest(QuantType.Q8_0, str(checkpoint)))
    assert result.path.read_bytes() == whole.path.read_bytes()
    assert left_behind(home) == ["stories-Q8_0.gguf"]


def test_gguf_to_gguf_is_the_same_as_from_the_checkpoint(
    home: Paths, checkpoint: Path, tmp_path: Path
) -> None:
    lossless = run(QuantizeRequest(QuantType.BF16, str(checkpoint), tmp_path / "bf16.gguf"))
    straight = run(QuantizeRequest(QuantType.Q4_K_M, str(checkpoint), tmp_path / "straight.gguf"))
    again = run(QuantizeRequest(QuantType.Q4_K_M, str(lossless.path), tmp_path / "again.gguf"))
    assert again.path.read_bytes() == straight.path.read_bytes()
    with pytest.raises(UnsupportedError, match="quantized already"):
        run(QuantizeRequest(QuantType.Q4_0, str(again.path), tmp_path / "worse.gguf"))
    worse = QuantizeRequest(
        QuantType.Q4_0, str(again.path), tmp_path / "worse.gguf", allow_requantize=True
    )
    assert read_gguf(run(worse).path).quant == "Q4_0"
    with pytest.raises(UsageError, match="is the input itself"):
        run(QuantizeRequest(QuantType.Q4_0, str(worse.output), worse.output, force=True))


def test_types_as_the_user_wants_them(home: Paths, checkpoint: Path, tmp_path: Path) -> None:
    request = QuantizeRequest(
        QuantType.Q4_0,
        str(checkpoint),
        tmp_path / "o.gguf",
        rules=(TypeRule(r"blk\.0\.attn_v", TensorType.Q8_0), TypeRule("attn_v", TensorType.Q5_1)),
        embedding_type=TensorType.F16,
    )
    types = {tensor.name: tensor.type for tensor in read_gguf(run(request).path).tensors}
    assert types["blk.0.attn_v.weight"] is TensorType.Q8_0
    assert types["blk.1.attn_v.weight"] is TensorType.Q5_1
    assert types["blk.1.attn_k.weight"] is TensorType.Q4_0
    assert types["token_embd.weight"] is TensorType.F16
    pure = QuantizeRequest(QuantType.Q4_0, str(checkpoint), tmp_path / "p.gguf", pure=True)
    kinds = {tensor.type for tensor in read_gguf(run(pure).path).tensors}
    assert kinds == {TensorType.Q4_0, TensorType.F32, TensorType.F16}


def test_preflight_is_exact(home: Paths, checkpoint: Path) -> None:
    for quant in (QuantType.Q4_0, QuantType.Q6_K, QuantType.F16):
        request = QuantizeRequest(quant, str(checkpoint))
        with Library() as library:
            found = preflight(library, request)
        assert not home.models.exists() or not list(home.models.rglob("*.gguf"))
        result = run(request)
        assert (found.size_bytes, found.path) == (result.size_bytes, result.path)
        assert found.chat_template == "none"
        assert found.tokenizer == "llama (default)"
        assert sum(found.tensor_types.values()) == 47
        result.path.unlink()


def test_a_full_disk_while_writing(
    home: Paths, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StorageError, match="the disk is full"):
        run(QuantizeRequest(QuantType.Q8_0, str(checkpoint)))
    assert left_behind(home) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real filesystem of 300 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("may not mount a small disk here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_really_full_disk(home: Paths, checkpoint: Path, small_disk: Path) -> None:
    with pytest.raises(StorageError, match=r"needs 344,512 bytes") as caught:
        run(QuantizeRequest(QuantType.Q8_0, str(checkpoint), small_disk / "out.gguf"))
    assert caught.value.hint
    assert list(small_disk.iterdir()) == []
    result = run(QuantizeRequest(QuantType.Q4_0, str(checkpoint), small_disk / "out.gguf"))
    assert result.size_bytes < 300_000


def test_a_folder_that_cannot_be_written(home: Paths, checkpoint: Path) -> None:
    with pytest.raises(StorageError, match="no such folder"):
        run(QuantizeRequest(QuantType.Q4_0, str(checkpoint), checkpoint / "none" / "o.gguf"))
    if Path("/proc/self").exists():
        with pytest.raises(StorageError, match=r"cannot be written|needs"):
            run(QuantizeRequest(QuantType.Q4_0, str(checkpoint), Path("/proc/self/o.gguf")))


@pytest.mark.parametrize("type_", [TensorType.Q4_0, TensorType.Q5_1, TensorType.Q8_0])
def test_unaligned_sources_decode_the_same(type_: TensorType) -> None:
    codecs = load_codecs()
    numbers = np.linspace(-1, 1, 320, dtype=np.float32)
    packed = np.frombuffer(b"x" + numbers.tobytes(), np.uint8)[1:]
    decoded = codecs.decode("F32", packed, np.empty(320, np.float32))
    target = np.empty(type_.row_bytes(320), np.uint8)
    straight = codecs.encode(type_, numbers, target, 320).tobytes()
    assert codecs.encode(type_, decoded, target, 320).tobytes() == straight


@pytest.mark.parametrize("split", [None, 100_000])
def test_damage_after_the_making_is_seen(home: Paths, checkpoint: Path, split: int | None) -> None:
    request = QuantizeRequest(QuantType.Q4_0, str(checkpoint), split_bytes=split)
    result = run(request)
    assert result.name is not None
    library = Library(home)
    model = library.find(result.name)
    files = library.files(model)
    known = library.hashes.of_model(model.name)
    assert [known[library.place(file)].sha256 for file in files] == [
        sha256(file.read_bytes()).hexdigest() for file in files
    ]
    with files[-1].open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        byte = file.read(1)
        file.seek(-5, os.SEEK_END)
        file.write(bytes([byte[0] ^ 1]))
    (check,) = verify(library, (model.name,), ignore, threading.Event()).models
    assert [one.verdict for one in check.files if not one.verdict.good] == [Verdict.CHANGED]


def test_a_run_that_went_on_knows_the_hash_of_all(
    home: Paths, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = QuantizeRequest(QuantType.Q8_0, str(checkpoint))
    with monkeypatch.context() as patch:
        cancel = interrupted_after(20, patch)
        with pytest.raises(Cancelled):
            run(request, cancel=cancel)
    result = run(request)
    (known,) = Library(home).hashes.all().values()
    assert known.sha256 == sha256(result.path.read_bytes()).hexdigest()
    assert known.said_by is SaidBy.MADE
