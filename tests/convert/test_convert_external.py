"""llama.cpp's own converter: set up with consent, run as a child, and never half-made.

The release is a made-up one whose converter needs no packages; pip finds it in a local folder.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
import tarfile
import threading
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from localq.cli.consent import consent_by
from localq.cli.main import main
from localq.convert.external import environment
from localq.convert.external.requirements import Release, Requirements
from localq.errors import (
    BadFileError,
    Cancelled,
    LocalqError,
    StorageError,
    UnsupportedError,
    UsageError,
)
from localq.events import JobEvent, Note, Progress, ignore
from localq.formats.gguf import read_gguf
from localq.formats.types import QuantType
from localq.library import Library
from localq.paths import Paths
from localq.services.make.convert import ConvertRequest, ConvertWith, convert
from localq.services.make.quantize import QuantizeResult
from tests.checkpoints import write_json, write_safetensors
from tests.services.test_quantize import DEMO

RELEASE = "9.9.9"

# What the real one has: the same options, log lines and progress bar.
SCRIPT = """
import argparse, os, pathlib, struct, sys, time
here = pathlib.Path(__file__).parent
assert sys.path[0] == str(here) and not os.environ.get("PYTHONPATH")
assert sys.prefix == str(here.parent / "venv"), sys.prefix
parser = argparse.ArgumentParser()
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("--outtype")
parser.add_argument("--outfile")
args = parser.parse_args()
import conversion
say = sys.stderr.write
say(f"INFO:hf-to-gguf:Loading model: {args.model.name}\\n")
out = pathlib.Path(args.outfile)
out = out.with_name(out.name.format(ftype=args.outtype))
how = (args.model / "how.txt").read_text() if (args.model / "how.txt").exists() else ""
if how == "unsupported":
    say("ERROR:hf-to-gguf:Model OddForCausalLM is not supported\\n")
    sys.exit(1)
say("WARNING:hf-to-gguf:an odd tokenizer\\n")
def text(t):
    return struct.pack("<Q", len(t)) + t.encode()
def number(key, value):
    return text(key) + struct.pack("<II", 4, value)
data = b"GGUF" + struct.pack("<IQQ", 3, 1, 2)
data += text("general.architecture") + struct.pack("<I", 8) + text("odd")
kind = {"f32": (0, 0, 4), "bf16": (32, 30, 2)}[args.outtype]
data += number("general.file_type", kind[0])
data += text("w") + struct.pack("<IQIQ", 1, 32, kind[1], 0)
data += bytes(-len(data) % 32)
out.write_bytes(data)
say("Writing:   0%|          | 0.00/64.0 [00:00<?, ?byte/s]\\r")
if how == "hang":
    (args.model / "hangs").write_text(str(os.getpid()))
    time.sleep(600)
if how == "crash":
    raise ValueError("no such tensor")
if how == "killed":
    os.kill(os.getpid(), 9)
if how == "full":
    raise OSError(28, "No space left on device")
say("Writing: 100%|##########| 64.0/64.0 [00:00<00:00, 1.2kbyte/s]\\n")
if how != "half":
    out.write_bytes(data + bytes(32 * kind[2]))
"""


def sdist(folder: Path, script: str = SCRIPT, requirements: str = "") -> Path:
    root = f"llama_cpp_python-{RELEASE}"
    tree = f"{root}/vendor/llama.cpp"
    members = {
        f"{root}/PKG-INFO": f"Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: {RELEASE}\n",
        f"{root}/pyproject.toml": '[build-system]\nrequires = ["scikit-build-core"]\n'
        'build-backend = "scikit_build_core.build"\n',
        f"{root}/setup.py": "raise SystemExit('the setup was run')\n",
        f"{tree}/LICENSE": "MIT",
        f"{tree}/convert_hf_to_gguf.py": script,
        f"{tree}/conversion/__init__.py": "",
        f"{tree}/models/templates/one.jinja": "",
        f"{tree}/src/llama.cpp": "int main;",
        f"{tree}/requirements/requirements-convert_hf_to_gguf.txt": "-r ./requirements-base.txt\n",
        f"{tree}/requirements/requirements-base.txt": f"# none\n{requirements}",
    }
    folder.mkdir(exist_ok=True)
    path = folder / f"{root}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, text in members.items():
            data = text.encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place pip looks in, with the release's source archive."""
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.delenv("LOCALQ_TORCH", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    release = Release(RELEASE, 3_000_000, Requirements(()))
    monkeypatch.setattr(environment, "installed_release", lambda: release)
    sdist(tmp_path / "links")
    return tmp_path / "links"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """One of an architecture that localq does not know."""
    root = shutil.copytree(DEMO, tmp_path / "odd {model}")
    config = json.loads((root / "config.json").read_text())
    write_json(root / "config.json", config | {"architectures": ["OddForCausalLM"]})
    return root


class Consent:
    """Answers, and remembers what it was asked."""

    def __init__(self, answer: bool = True) -> None:
        self.answer = answer
        self.questions: list[str] = []

    def __call__(self, question: str) -> bool:
        self.questions.append(question)
        return self.answer


def run(
    checkpoint: Path,
    *,
    consent: Callable[[str], bool] | None = None,
    emit: Callable[[JobEvent], None] = ignore,
    cancel: threading.Event | None = None,
    **changes: Any,
) -> QuantizeResult:
    request = ConvertRequest(model=str(checkpoint), converter=ConvertWith.LLAMA_CPP, **changes)
    with Library() as library:
        return convert(library, request, emit, cancel or threading.Event(), consent or Consent())


def left(home: Paths) -> list[str]:
    """Files of the home, but for logs, the catalogue and the lock."""
    files = (path for path in home.data.rglob("*") if path.is_file() and path != home.database)
    return sorted(str(path.relative_to(home.data)) for path in files if path.name != "lock")


def folder_of(home: Paths) -> Path:
    return home.data / "llama.cpp-converter" / RELEASE


def test_set_up_convert_and_use_again(
    home: Paths, links: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(checkpoint))
    events: list[JobEvent] = []
    consent = Consent()
    result = run(checkpoint, emit=events.append, consent=consent)
    assert (result.name, result.quant, result.parameters) == ("local/odd {model}:BF16", "BF16", 32)
    assert read_gguf(result.path).architecture == "odd"
    assert Progress("converting with llama.cpp", 64, 64) in events
    assert Note("llama.cpp: an odd tokenizer") in events
    assert len(consent.questions) == 1
    assert f"llama-cpp-python {RELEASE}" in consent.questions[0]
    assert str(folder_of(home)) in consent.questions[0]
    assert sorted(path.name for path in folder_of(home).iterdir()) == [
        "llama.cpp",
        "ready.json",
        "venv",
    ]
    assert not (folder_of(home) / "llama.cpp" / "src").exists()
    with Library() as library:
        assert library.find("odd {model}:bf16").size_bytes == result.size_bytes

    shutil.rmtree(links)  # all that is needed is here now
    refuse = Consent(False)
    assert run(checkpoint, type=QuantType.F32, consent=refuse).quant == "F32"
    again = run(checkpoint, type=QuantType.F32, consent=refuse)
    assert again.already_there
    assert refuse.questions == []


def test_without_consent_nothing_is_fetched(home: Paths, links: Path, checkpoint: Path) -> None:
    shutil.rmtree(links)
    with pytest.raises(Cancelled, match="nothing was downloaded"):
        run(checkpoint, consent=Consent(False))
    assert left(home) == []
    assert not home.models.exists()


def test_code_in_the_checkpoint_needs_consent_too(
    home: Paths, links: Path, checkpoint: Path, tmp_path: Path
) -> None:
    (checkpoint / "tokenization_odd.py").write_text("")
    with pytest.raises(Cancelled, match="nothing of the checkpoint was run"):
        run(checkpoint, consent=lambda question: "tokenization_odd.py" not in question)
    assert run(checkpoint, output=tmp_path / "out.gguf").name is None


FAILURES: list[tuple[str, type[LocalqError], str]] = [
    ("unsupported", UnsupportedError, "Model OddForCausalLM is not supported"),
    ("crash", LocalqError, "ValueError: no such tensor"),
    ("full", StorageError, "No space left on device"),
    ("half", BadFileError, ".gguf"),
]
if sys.platform != "win32":
    FAILURES.append(("killed", LocalqError, "killed by signal 9; often memory ran out"))


def test_the_converter_fails(home: Paths, links: Path, checkpoint: Path) -> None:
    for how, kind, says in FAILURES:
        (checkpoint / "how.txt").write_text(how)
        with pytest.raises(kind, match=re.escape(says)):
            run(checkpoint)
        assert not list(home.models.rglob("*.*"))
    log = (home.log / "llama.cpp-converter.log").read_text()
    assert "ValueError: no such tensor" in log
    assert "Writing" not in log
    (checkpoint / "how.txt").unlink()
    assert run(checkpoint, consent=Consent(False)).parameters == 32


def test_cancel_kills_the_converter(home: Paths, links: Path, checkpoint: Path) -> None:
    (checkpoint / "how.txt").write_text("hang")
    cancel = threading.Event()

    def watch(event: JobEvent) -> None:
        if isinstance(event, Progress) and event.stage.startswith("converting"):
            cancel.set()

    started = checkpoint / "hangs"
    with pytest.raises(Cancelled):
        run(checkpoint, emit=watch, cancel=cancel)
    assert not list(home.models.rglob("*.*"))
    if started.exists() and sys.platform != "win32":
        with pytest.raises(ProcessLookupError):
            os.kill(int(started.read_text()), 0)


def test_cancel_while_setting_up(home: Paths, links: Path, checkpoint: Path) -> None:
    cancel = threading.Event()

    def agree(question: str) -> bool:
        cancel.set()
        return True

    with pytest.raises(Cancelled):
        run(checkpoint, consent=agree, cancel=cancel)
    assert left(home) == []
    assert run(checkpoint).parameters == 32


def test_a_converter_that_does_not_start(home: Paths, links: Path, checkpoint: Path) -> None:
    sdist(links, script="import torch_that_is_not_there")
    with pytest.raises(LocalqError, match="does not start: ModuleNotFoundError: No module named"):
        run(checkpoint)
    assert left(home) == []


def test_an_archive_that_is_none(home: Paths, links: Path, checkpoint: Path) -> None:
    (links / f"llama_cpp_python-{RELEASE}.tar.gz").write_bytes(b"nothing")
    with pytest.raises(LocalqError, match=f"llama-cpp-python {RELEASE} could not be got"):
        run(checkpoint)
    assert left(home) == []


def test_unforeseen_requirements_are_asked_for(home: Paths, links: Path, checkpoint: Path) -> None:
    sdist(links, requirements="unforeseen==1.0")
    consent = Consent()
    with pytest.raises(LocalqError, match=r"needs could not be installed: .*unforeseen"):
        run(checkpoint, consent=consent)
    assert len(consent.questions) == 2
    assert "unforeseen==1.0" in consent.questions[1]
    assert left(home) == []


def test_a_broken_set_up_is_made_anew(home: Paths, links: Path, checkpoint: Path) -> None:
    run(checkpoint)
    (folder_of(home) / "ready.json").write_text("{")
    consent = Consent()
    run(checkpoint, force=True, consent=consent)
    shutil.rmtree(folder_of(home) / "venv")
    run(checkpoint, force=True, consent=consent)
    assert len(consent.questions) == 2


def test_one_sets_up_while_the_other_waits(home: Paths, links: Path, checkpoint: Path) -> None:
    asked = threading.Event()
    waiting = threading.Event()
    done: list[QuantizeResult] = []

    def agree(question: str) -> bool:
        asked.set()
        return waiting.wait(60)

    first = threading.Thread(target=lambda: done.append(run(checkpoint, consent=agree)))
    first.start()
    assert asked.wait(60)

    def watch(event: JobEvent) -> None:
        if isinstance(event, Note) and "another localq" in event.text:
            waiting.set()

    second = run(checkpoint, type=QuantType.F32, emit=watch, consent=Consent(False))
    first.join()
    assert (done[0].quant, second.quant) == ("BF16", "F32")


def test_no_room_for_it(
    home: Paths, links: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(home.data.anchor)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2_000_000))
    with pytest.raises(
        StorageError, match=r"needs about [\d.]+ MB there, the disk has 2\.0 MB left"
    ):
        run(checkpoint)
    assert left(home) == []


def test_the_command_line(
    home: Paths,
    links: Path,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = ["convert", str(checkpoint), "--with", "llama.cpp"]
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "needs your consent" in said
    assert "--yes" in said
    assert main([*arguments, "--yes", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert set(made) == {field.name for field in fields(QuantizeResult)}
    assert main([*arguments, "--to", "q4_0", "--force"]) == 2
    assert "choose one of: f32" in capsys.readouterr().err


def test_consent_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setattr("click.confirm", lambda text, err: "?" in text and err)
    assert consent_by(yes=False)("may I?")


def test_native_conversion_keeps_the_type(home: Paths, tmp_path: Path) -> None:
    root = shutil.copytree(DEMO, tmp_path / "stories")
    with Library() as library:

        def native(**changes: Any) -> QuantizeResult:
            request = ConvertRequest(model=str(root), **changes)
            return convert(library, request, ignore, threading.Event(), Consent(False))

        assert native().quant == library.find("local/stories:bf16").quant == "BF16"
        assert native(type=QuantType.F32).quant == "F32"
        with pytest.raises(UsageError, match="convert does not quantize to Q4_0"):
            native(type=QuantType.Q4_0)


def test_weights_that_only_llama_cpp_can_read(home: Paths, links: Path, tmp_path: Path) -> None:
    root = tmp_path / "quantized"
    root.mkdir()
    config = {"architectures": ["OddForCausalLM"], "quantization_config": {"quant_method": "gptq"}}
    write_json(root / "config.json", config)
    write_safetensors(root / "model.safetensors", {"w": ("BF16", (2, 2), bytes(8))})
    assert run(root).quant == "BF16"
    with pytest.raises(UnsupportedError):
        run(run(root, output=tmp_path).path)  # a GGUF is no checkpoint
