"""What has come stays while its digest fits, and nobody calls unchanged what is not."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from localq.cli.main import main
from localq.errors import Cancelled, HubError, LibraryError, StorageError
from localq.events import JobEvent, Progress, ignore
from localq.formats.types import QuantType
from localq.hub.backoff import RetryPolicy
from localq.hub.source import CONTINUES
from localq.hub.staging import staging_folder
from localq.library import Library
from localq.paths import Paths
from localq.services.doctor.doctor import doctor
from localq.services.library.verify import verify
from localq.services.pull import arriving, stream
from localq.services.pull.pull import PullRequest, PullResult, pull
from localq.services.pull.stream import PullAsRequest, pull_as
from tests.checkpoints import SMOLLM2_CONFIG, write_llama_checkpoint
from tests.hub_server import Cut, HubServer, Repo, Slow, closed_port_url
from tests.streams import HEADER_BYTES, demo_in_shards

CONFIG = {**SMOLLM2_CONFIG, "vocab_size": 512, "num_hidden_layers": 2}
FIRST, SECOND = (f"model-{i:05}-of-00002.safetensors" for i in (1, 2))
IN_FLIGHT = 64 << 10
"""Bytes that a server may have sent to someone who was gone already."""
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = write_llama_checkpoint(tmp_path / "served", config=CONFIG, shards=2)
    (folder / "README.md").write_text("# Old\n")
    return folder


@pytest.fixture
def repo(hub: HubServer, checkpoint: Path) -> Repo:
    return hub.add_repo("org/tiny", checkpoint)


def run(library: Library, spec: str = "org/tiny") -> PullResult:
    return pull(library, PullRequest(spec), ignore, threading.Event())


def stop_at(library: Library, hub: HubServer, count: int) -> None:
    """Stop a pull when so many bytes have come."""
    cancel = threading.Event()

    def emit(event: JobEvent) -> None:
        if isinstance(event, Progress) and event.done > count:
            cancel.set()

    hub.rate = 500_000
    with pytest.raises(Cancelled):
        pull(library, PullRequest("org/tiny"), emit, cancel)
    hub.rate = None
    hub.sent.clear()


def test_a_new_readme_costs_no_weights(
    library: Library, hub: HubServer, repo: Repo, checkpoint: Path, home: Paths
) -> None:
    stop_at(library, hub, 300_000)
    come = {p.name: p.stat().st_size for p in home.partial.rglob("model-*")}
    assert sum(come.values()) > 100_000
    (checkpoint / "README.md").write_text("# A better card\n")
    new = hub.add_repo("org/tiny", checkpoint)
    model = run(library).model
    assert model.source.revision == new.commit
    assert {p.name: p.read_bytes() for p in model.path.iterdir()} == dict(new.files)
    for name, size in come.items():
        assert hub.sent[name] <= len(new.files[name]) - size + IN_FLIGHT
    assert not any(path.is_file() for path in home.partial.rglob("*"))


def test_new_weights_are_not_mixed_with_old_ones(
    library: Library, hub: HubServer, repo: Repo, checkpoint: Path
) -> None:
    stop_at(library, hub, 300_000)
    data = bytearray((checkpoint / FIRST).read_bytes())
    data[-1] ^= 1
    (checkpoint / FIRST).write_bytes(data)
    new = hub.add_repo("org/tiny", checkpoint)
    model = run(library).model
    assert {p.name: p.read_bytes() for p in model.path.iterdir()} == dict(new.files)
    assert len(new.files[FIRST]) <= hub.sent[FIRST] <= len(new.files[FIRST]) + IN_FLIGHT


def test_notes_that_lead_elsewhere_move_nothing(hub: HubServer, repo: Repo, tmp_path: Path) -> None:
    from localq.events import ignore
    from localq.hub import parse_spec
    from localq.hub.repository import HubSource

    files = HubSource.resolve(parse_spec("org/tiny"), emit=ignore, cancel=threading.Event()).files
    digest = files[0].digest.hex
    outside = tmp_path / "outside"
    outside.write_text("mine")
    root = tmp_path / "partial"
    old = root / "org" / "tiny" / ("a" * 40)
    old.mkdir(parents=True)
    (old / "link").symlink_to(outside)
    places = ["../../../../outside", str(outside), "link", "", "."]
    noted = ", ".join(f'"{place}": "{digest}"' for place in places)
    (old / ".digests.partial").write_text(f"{{{noted}}}")
    with staging_folder(root, "org/tiny", "b" * 40, {}, files) as folder:
        assert [path.name for path in folder.iterdir()] == []
    assert outside.read_text() == "mine"
    assert not old.exists()


def damage(path: Path) -> None:
    """Flip a bit, as a failing disk does: the time of change stays."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("name", ["config.json", SECOND])
@pytest.mark.parametrize("spec", ["org/tiny", "org/tiny@{commit}"])
def test_what_verify_calls_bad_is_not_called_unchanged(
    library: Library, hub: HubServer, repo: Repo, capsys: Capture, name: str, spec: str
) -> None:
    spec = spec.format(commit=repo.commit)
    model = run(library, spec).model
    capsys.readouterr()
    assert main(["pull", spec]) == 0
    assert "complete and unchanged" in capsys.readouterr().err
    damage(model.path / name)
    assert not verify(library, ("tiny",), ignore, threading.Event()).good
    assert main(["pull", spec]) == 1
    said = capsys.readouterr().err
    assert "unchanged" not in said
    assert f"{name} is not what was pulled" in said
    assert f"localq pull org/tiny@{repo.commit} --force" in said
    assert main(["pull", spec, "--force"]) == 0
    assert verify(library, ("tiny",), ignore, threading.Event()).good
    capsys.readouterr()
    assert main(["pull", spec]) == 0
    assert "complete and unchanged" in capsys.readouterr().err


def test_an_edited_file_is_noticed_without_verify_and_not_overwritten(
    library: Library, repo: Repo
) -> None:
    model = run(library).model
    edited = (model.path / "config.json").read_text().replace("{", "{ ", 1)
    (model.path / "config.json").write_text(edited)
    with pytest.raises(LibraryError, match=r"config\.json is not what was pulled"):
        run(library)
    assert (model.path / "config.json").read_text() == edited


def test_a_file_that_was_only_touched_is_compared_once(
    library: Library, hub: HubServer, repo: Repo
) -> None:
    model = run(library).model
    hub.sent.clear()
    os.utime(model.path / SECOND)
    events: list[JobEvent] = []
    assert pull(library, PullRequest("org/tiny"), events.append, threading.Event()).already_there
    assert any(isinstance(event, Progress) and event.stage == "comparing" for event in events)
    events.clear()
    assert pull(library, PullRequest("org/tiny"), events.append, threading.Event()).already_there
    assert events == []
    assert hub.sent.total() == 0


def test_offline_what_cannot_be_compared_is_not_called_unchanged(
    library: Library, repo: Repo, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    model = run(library).model
    library.add(model, sorted(model.path.iterdir()))  # as earlier localqs did: without hashes
    monkeypatch.setenv("HF_ENDPOINT", closed_port_url())
    capsys.readouterr()
    assert main(["pull", "org/tiny"]) == 0
    said = capsys.readouterr().err
    assert "perhaps not its latest" in said
    assert "unchanged" not in said
    damage(model.path / SECOND)


SHARDS = [f"model-{i:05}-of-00003.safetensors" for i in (1, 2, 3)]


@pytest.fixture
def demo(hub: HubServer, tmp_path: Path) -> Path:
    folder = demo_in_shards(tmp_path / "demo")
    hub.add_repo("org/demo", folder)
    return folder


def run_as(library: Library, cancel: threading.Event | None = None) -> None:
    request = PullAsRequest("org/demo", QuantType.Q8_0)
    pull_as(library, request, ignore, cancel or threading.Event())


def test_a_stopped_pull_as_says_what_is_true(
    library: Library, hub: HubServer, demo: Path, home: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was kept: nothing is gone on from, and no empty folder is left."""
    cancel = threading.Event()
    real = arriving.write_as_it_arrives

    def write(*args: Any, **options: Any) -> arriving.Arrived:
        # The headers have been read.
        hub.faults += [Slow(name, bytes_per_second=1000) for name in SHARDS]
        return real(*args, **options)

    def stop(event: JobEvent) -> None:
        if isinstance(event, Progress):
            cancel.set()

    monkeypatch.setattr(stream, "write_as_it_arrives", write)
    with pytest.raises(Cancelled) as caught:
        pull_as(library, PullAsRequest("org/demo", QuantType.Q8_0), stop, cancel)
    assert "goes on" not in caught.value.message
    assert not (home.models / "org").exists()
    assert doctor(library, ignore, threading.Event()).findings == ()


def test_a_pull_as_that_fails_names_no_option_it_lacks(
    library: Library, demo: Path, home: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(StorageError) as caught:
        run_as(library)
    assert "-o" not in str(caught.value.hint).split()
    assert "LOCALQ_HOME" in str(caught.value.hint)
    assert not (home.models / "org").exists()


def test_a_new_readme_costs_pull_as_nothing_either(
    library: Library, hub: HubServer, demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = PullAsRequest("org/demo", QuantType.Q8_0)
    real = arriving.write_as_it_arrives

    def write(*args: Any, **options: Any) -> arriving.Arrived:
        hub.faults.append(Cut(SHARDS[2], 99, after=100))  # the headers have been read
        return real(*args, **options)

    monkeypatch.setattr(stream, "write_as_it_arrives", write)
    with pytest.raises(HubError) as caught:
        pull_as(library, request, ignore, threading.Event(), policy=RetryPolicy(retries=0))
    monkeypatch.setattr(stream, "write_as_it_arrives", real)
    assert caught.value.hint == CONTINUES
    hub.faults.clear()
    (demo / "README.md").write_text("# A better card")
    hub.add_repo("org/demo", demo)
    hub.sent.clear()
    pull_as(library, request, ignore, threading.Event())
    assert any(hub.sent[name] <= HEADER_BYTES for name in SHARDS)
