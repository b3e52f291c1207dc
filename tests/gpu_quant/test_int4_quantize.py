"""`quantize gptq` and `awq` from request to library, with a stand-in for the backend."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from localq.convert import open_checkpoint
from localq.errors import (
    BadFileError,
    Cancelled,
    LibraryError,
    LocalqError,
    NotFoundError,
    StorageError,
    UnsupportedError,
)
from localq.events import JobEvent, Note, Progress, Unit, ignore
from localq.gpu_quant.backends import PYTHON_VARIABLE
from localq.gpu_quant.child import BackendCrashed
from localq.gpu_quant.options import Method
from localq.library import Library, ModelFormat
from localq.paths import Paths
from localq.services.int4.plan import preflight_int4
from localq.services.int4.quantize import Int4Request, Int4Result, quantize_int4
from localq.services.library.inspect import show
from localq.services.library.locate import locate_gguf, locate_path
from localq.services.library.remove import remove
from localq.services.library.verify import verify


def asked(small: Path, **changes: object) -> Int4Request:
    values = {"method": Method.GPTQ, "device": "cpu", "calib": "builtin", **changes}
    return Int4Request(model=str(small), **values)  # type: ignore[arg-type]


def made(library: Library, request: Int4Request, emit: object = ignore) -> Int4Result:
    return quantize_int4(library, request, emit, threading.Event())  # type: ignore[arg-type]


def nothing_left(home: Paths) -> bool:
    left = [p for root in (home.partial, home.models) if root.exists() for p in root.rglob("*")]
    return not [path for path in left if path.is_file()]


@pytest.mark.parametrize("method", list(Method))
def test_a_checkpoint_in_the_library(
    library: Library, home: Paths, small: Path, fake_backend: Path, method: Method
) -> None:
    events: list[JobEvent] = []
    result = made(library, asked(small, method=method), events.append)
    label = f"{method.upper()}-INT4"
    parameters = open_checkpoint(small).parameters
    assert result.name == f"local/small:{label}"
    model = library.find(result.name)
    assert (model.format, model.quant, model.parameters) == (ModelFormat.INT4, label, parameters)
    assert model.path == home.models / "local" / "small" / f"small-{label}"
    assert locate_path(library, "small") == model.path
    layers = [e for e in events if isinstance(e, Progress) and e.unit is Unit.LAYERS and e.total]
    assert (layers[-1].done, layers[-1].total) == (2, 2)
    assert any(isinstance(e, Note) and "hardly pays" in e.text for e in events)
    told = json.loads((model.path / "localq_provenance.json").read_text(encoding="utf-8"))
    assert told["versions"] == {"fake": "1.0"}
    assert told["loss"] == {"0.self_attn.q_proj": 0.5}
    assert told["measured"]["cosine"] == result.cosine == 0.99
    assert told["source"]["sha256"].keys() == {"model.safetensors"}
    for name in ("config.json", "quantize_config.json"):  # nothing of this machine
        assert str(home.data) not in (model.path / name).read_text(encoding="utf-8")
    details = show(library, result.name).int4
    assert details is not None
    assert (details.packed, details.bits, details.symmetric) == (14, 4, method is Method.GPTQ)
    assert verify(library, (), ignore, threading.Event()).good
    with pytest.raises(UnsupportedError, match="vLLM and transformers run it"):
        locate_gguf(library, "small")
    remove(library, [result.name], now=True)
    assert nothing_left(home)


def test_again_is_there_already_and_other_options_are_not(
    library: Library, small: Path, fake_backend: Path
) -> None:
    first = made(library, asked(small))
    again = made(library, asked(small))
    assert (again.name, again.already_there) == (first.name, True)
    with pytest.raises(LibraryError, match="made in another way"):
        made(library, asked(small, damp_percent=0.1))
    assert not made(library, asked(small, damp_percent=0.1, force=True)).already_there
    assert made(library, asked(small, group_size=64)).name.endswith(":GPTQ-INT4-G64")


def test_kept_modules_are_named_where_loaders_look(
    library: Library, small: Path, fake_backend: Path
) -> None:
    gptq = made(library, asked(small, keep=("self_attn",)))
    awq = made(library, asked(small, keep=("self_attn",), method=Method.AWQ))
    told = [
        json.loads((r.path / "config.json").read_text(encoding="utf-8"))["quantization_config"]
        for r in (gptq, awq)
    ]
    assert told[0]["modules_in_block_to_quantize"] == [
        ["mlp.down_proj"],
        ["mlp.gate_proj"],
        ["mlp.up_proj"],
    ]
    assert "model.layers.1.self_attn.o_proj" in told[1]["modules_to_not_convert"]
    assert gptq.name == "local/small:GPTQ-INT4-MIXED"


@pytest.mark.parametrize(
    ("mode", "kind", "says"),
    [
        ("crash", BackendCrashed, "exit code 139"),
        ("half", BackendCrashed, "the backend died"),
        ("nonsense", BackendCrashed, "makes no sense: b?'?loading"),
        ("memory", LocalqError, "memory ran out"),
        ("disk", StorageError, "the disk is full"),
        ("architecture", UnsupportedError, "what the backend says"),
        ("import", LocalqError, "environment is damaged"),
        ("damaged", BadFileError, "qzeros does not go with its qweight: it is missing"),
        ("nan", BadFileError, "no numbers"),
        ("mute", BadFileError, "no tokens"),
        ("far", BadFileError, "far from the original's"),
    ],
)
def test_what_goes_wrong_is_one_line_and_leaves_nothing(
    library: Library,
    home: Paths,
    small: Path,
    fake_backend: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    kind: type[LocalqError],
    says: str,
) -> None:
    monkeypatch.setenv("FAKE_BACKEND", mode)
    with pytest.raises(kind, match=says) as caught:
        made(library, asked(small))
    assert "\n" not in caught.value.message
    assert library.models() == []
    assert nothing_left(home)


def test_a_cancelled_run_is_gone_at_once_with_all_it_started(
    library: Library,
    home: Paths,
    small: Path,
    fake_backend: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAKE_BACKEND", "orphan")
    monkeypatch.setenv("FAKE_PIDS", str(tmp_path / "pids"))
    cancel = threading.Event()

    def on_event(event: JobEvent) -> None:
        if isinstance(event, Progress) and event.stage == "quantizing":
            cancel.set()

    with pytest.raises(Cancelled, match="begins anew"):
        quantize_int4(library, asked(small), on_event, cancel)
    pids = [*map(int, (tmp_path / "pids").read_text().split())]
    deadline = time.monotonic() + 10
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)  # killed already, but the system takes a moment
    assert not any(map(is_running, pids))
    assert nothing_left(home)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        if Path("/proc").is_dir():
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_one_that_hangs_is_ended(
    library: Library,
    home: Paths,
    small: Path,
    fake_backend: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAKE_BACKEND", "hang")
    monkeypatch.setenv("LOCALQ_BACKEND_STALL_SECONDS", "1")
    with pytest.raises(BackendCrashed, match="no progress"):
        made(library, asked(small))
    assert nothing_left(home)


def test_noise_goes_to_the_log(
    library: Library, home: Paths, small: Path, fake_backend: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_BACKEND", "noise")
    made(library, asked(small))
    assert (home.log / "gptqmodel.log").stat().st_size > 60_000


def test_refusals_before_anything_starts(
    library: Library, home: Paths, small: Path, fake_backend: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnsupportedError, match="groups of 1024 do not divide it"):
        made(library, asked(small, group_size=1024))
    with pytest.raises(UnsupportedError, match="nothing in it is left"):
        made(library, asked(small, keep=("proj",)))
    with pytest.raises(NotFoundError, match="no such file or folder"):
        made(library, asked(small, calib="/no/such/text.txt"))
    result = made(library, asked(small))
    with pytest.raises(UnsupportedError, match="already quantized"):
        made(library, asked(result.path))
    remove(library, [result.name], now=True)
    monkeypatch.delenv(PYTHON_VARIABLE)
    with pytest.raises(NotFoundError, match="not installed") as caught:
        made(library, asked(small))
    assert caught.value.hint == "localq backend install gptqmodel"
    assert nothing_left(home)
    assert not preflight_int4(library, asked(small)).installed


def test_from_python(home: Paths, small: Path, fake_backend: Path) -> None:
    import localq

    result = localq.quantize_int4(str(small), "gptq", device="cpu", calib="builtin", bits=8)
    assert result.name == "local/small:GPTQ-INT8"
    with pytest.raises(TypeError):
        localq.quantize_int4(str(small), "awq", no_such_option=1)
