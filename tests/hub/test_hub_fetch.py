"""Real transfers from a Hub on the loopback interface, with everything that can go wrong."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from localq.errors import (
    Cancelled,
    HubError,
    LocalqError,
    NotFoundError,
    OfflineError,
    StorageError,
)
from localq.events import Emit, JobEvent, Note, Progress, ignore
from localq.hub import RetryPolicy, choose_checkpoint, fetch_all, parse_spec, staging_folder
from localq.hub.fetch import matches
from localq.hub.folder import FolderSource
from localq.hub.repository import HubSource
from localq.hub.session import HubSession
from localq.hub.source import RemoteFile, TransferInterrupted
from localq.hub.staging import refuse_full_disk
from localq.paths import Paths
from tests.hub_server import (
    Cut,
    FlipByte,
    HubServer,
    Refuse,
    Repo,
    Resize,
    Slow,
    closed_port_url,
    only_this_hub,
)

AT_ONCE = RetryPolicy(retries=3, first_delay=0)
NEVER = RetryPolicy(retries=0)
BIG = "model.safetensors"
SIZE = 300_000


@pytest.fixture
def hub(home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as server, only_this_hub(monkeypatch, server.url, tmp_path / "hf"):
        yield server


@pytest.fixture
def repo(hub: HubServer, tmp_path: Path) -> Repo:
    folder = tmp_path / "served"
    (folder / "onnx").mkdir(parents=True)
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (folder / "README.md").write_text("# A model\n")
    (folder / "onnx/model.onnx").write_bytes(b"no")
    words = (hashlib.sha256(b"%d" % number).digest() for number in range(SIZE // 32 + 1))
    (folder / BIG).write_bytes(b"".join(words)[:SIZE])
    return hub.add_repo("org/name", folder)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def resolve(spec: str = "org/name", policy: RetryPolicy = AT_ONCE) -> HubSource:
    return HubSource.resolve(parse_spec(spec), emit=ignore, cancel=threading.Event(), policy=policy)


def fetch(
    target: Path,
    *,
    policy: RetryPolicy = AT_ONCE,
    emit: Emit = ignore,
    cancel: threading.Event | None = None,
) -> int:
    """Fetch the checkpoint of org/name; returns the bytes moved."""
    source = resolve()
    files = choose_checkpoint(source.repo, source.files).files
    return fetch_all(
        source,
        {target / file.path: file for file in files},
        emit=emit,
        cancel=cancel or threading.Event(),
        policy=policy,
    )


def test_what_arrives_is_what_was_listed(hub: HubServer, repo: Repo, target: Path) -> None:
    events: list[JobEvent] = []
    moved = fetch(target, emit=events.append)
    arrived = {path.name: path.read_bytes() for path in target.iterdir()}
    assert arrived == {name: data for name, data in repo.files.items() if "/" not in name}
    total = sum(map(len, arrived.values()))
    assert moved == total
    assert events[-1] == Progress("downloading", total, total)
    assert hub.paths("HEAD") == []


def test_whole_files_are_kept(hub: HubServer, repo: Repo, target: Path) -> None:
    fetch(target)
    assert fetch(target) == 0
    assert hub.sent[BIG] == SIZE


def test_continues_after_a_cut_without_asking_twice(
    hub: HubServer, repo: Repo, target: Path
) -> None:
    hub.faults += [Cut(BIG, after=100_000), Cut(BIG, after=80_000), Cut(BIG, after=0)]
    assert fetch(target) == hub.sent[BIG] + hub.sent["config.json"] + hub.sent["README.md"]
    assert (target / BIG).read_bytes() == repo.files[BIG]
    assert hub.sent[BIG] == SIZE


def test_the_next_run_continues_where_the_last_one_stopped(
    hub: HubServer, repo: Repo, target: Path
) -> None:
    hub.faults.append(Cut(BIG, after=50_000))
    with pytest.raises(TransferInterrupted) as caught:
        fetch(target, policy=NEVER)
    assert "run the same command again" in str(caught.value.hint)
    assert (target / BIG).stat().st_size == 50_000
    fetch(target)
    assert hub.sent[BIG] == SIZE
    (again,) = [r for r in hub.requests if r.path.endswith(BIG) and "Range" in r.headers]
    assert again.headers["Range"] == "bytes=50000-"


def test_cancelling_keeps_what_is_there(hub: HubServer, repo: Repo, target: Path) -> None:
    cancel = threading.Event()
    hub.faults.append(Slow(BIG, bytes_per_second=100_000))

    def stop_after_a_while(event: JobEvent) -> None:
        if isinstance(event, Progress) and event.done > 10_000:
            cancel.set()

    with pytest.raises(Cancelled, match="continue"):
        fetch(target, cancel=cancel, emit=stop_after_a_while)
    kept = (target / BIG).stat().st_size
    assert kept > 0
    assert fetch(target) <= sum(map(len, repo.files.values())) - kept
    assert (target / BIG).read_bytes() == repo.files[BIG]


def test_a_server_that_ignores_ranges_starts_over(hub: HubServer, repo: Repo, target: Path) -> None:
    hub.ignores_ranges = True
    hub.faults.append(Cut(BIG, after=90_000))
    fetch(target)
    assert (target / BIG).read_bytes() == repo.files[BIG]


@pytest.mark.parametrize("name", [BIG, "config.json"])
def test_a_flipped_byte_is_noticed_and_fetched_again(
    hub: HubServer, repo: Repo, target: Path, name: str
) -> None:
    hub.faults.append(FlipByte(name, at=20))
    fetch(target)
    assert (target / name).read_bytes() == repo.files[name]
    assert hub.sent[name] == 2 * len(repo.files[name])


@pytest.mark.parametrize(
    ("name", "digest"), [(BIG, "its sha256"), ("config.json", "its Git blob id")]
)
def test_damaged_twice_is_an_error_that_names_the_file(
    hub: HubServer, repo: Repo, target: Path, name: str, digest: str
) -> None:
    hub.faults.append(FlipByte(name, at=0, times=2))
    with pytest.raises(HubError, match=f"org/name: {name} arrived damaged twice: {digest}"):
        fetch(target)
    assert not (target / name).exists()


@pytest.mark.parametrize("size", [SIZE - 5, SIZE + 5])
def test_a_wrong_length_is_noticed(hub: HubServer, repo: Repo, target: Path, size: int) -> None:
    hub.faults.append(Resize(BIG, size=size))
    fetch(target)
    assert (target / BIG).read_bytes() == repo.files[BIG]
    (target / BIG).unlink()
    hub.faults.append(Resize(BIG, times=9, size=size))
    with pytest.raises(HubError, match=rf"{BIG} arrived damaged twice: it is (shorter|longer)"):
        fetch(target)


def test_someone_elses_longer_file_in_the_way_is_replaced(
    hub: HubServer, repo: Repo, target: Path
) -> None:
    (target / BIG).write_bytes(bytes(SIZE + 1))
    (target / "config.json").write_bytes(b"{}")
    fetch(target)
    assert (target / BIG).read_bytes() == repo.files[BIG]
    assert (target / "config.json").read_bytes() == repo.files["config.json"]


@pytest.mark.parametrize("suffix", ["/revision/main", BIG])
def test_a_busy_hub_is_asked_again(hub: HubServer, repo: Repo, target: Path, suffix: str) -> None:
    hub.faults.append(Refuse(suffix, times=3))
    fetch(target)
    assert sum(path.endswith(suffix) for path in hub.paths()) == 4


def test_but_not_for_ever(hub: HubServer, repo: Repo, target: Path) -> None:
    hub.faults.append(Refuse(BIG, times=99))
    with pytest.raises(HubError, match="503 Service Unavailable"):
        fetch(target)
    assert sum(path.endswith(BIG) for path in hub.paths()) == 4


def test_a_rate_limit_says_how_long_to_wait(hub: HubServer, repo: Repo, target: Path) -> None:
    patient = RetryPolicy(first_delay=1000)
    hub.faults.append(Refuse(BIG, times=2, status=429, headers={"Retry-After": "0"}))
    fetch(target, policy=patient)
    hub.faults.append(Refuse("main", status=429, headers={"Retry-After": "4000"}))
    with pytest.raises(HubError, match="asks to wait 4,000 seconds"):
        resolve()


def test_waiting_is_told_and_can_be_cancelled(hub: HubServer, repo: Repo, target: Path) -> None:
    notes: list[JobEvent] = []
    cancel = threading.Event()

    def stop_when_told(event: JobEvent) -> None:
        if isinstance(event, Note):
            notes.append(event)
            cancel.set()

    hub.faults.append(Refuse(BIG, times=9))
    with pytest.raises(Cancelled):
        fetch(target, policy=RetryPolicy(first_delay=1000), emit=stop_when_told, cancel=cancel)
    assert len(notes) == 1


def test_a_gated_model_opens_with_the_token(
    hub: HubServer, repo: Repo, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.gated_for = "hf_secret"
    with pytest.raises(HubError, match="gated") as caught:
        fetch(target)
    assert "HF_TOKEN" in str(caught.value.hint)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(HubError, match="gated") as caught:
        fetch(target)
    assert "hf_wrong" not in f"{caught.value} {caught.value.hint} {HubSession.from_environment()}"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch(target)


def test_the_token_of_hf_auth_login_is_used(
    hub: HubServer, repo: Repo, target: Path, tmp_path: Path
) -> None:
    repo.gated_for = "hf_stored"
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf/token").write_text("hf_stored\n")
    fetch(target)


def test_the_token_never_follows_a_redirect_elsewhere(
    hub: HubServer, repo: Repo, target: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with HubServer() as storage:
        storage.add_repo("org/name", tmp_path / "served")
        repo.elsewhere = storage
        storage.faults.append(Cut(BIG, after=70_000))
        fetch(target)
        assert (target / BIG).read_bytes() == repo.files[BIG]
        assert storage.sent[BIG] == SIZE
        assert len(storage.requests) == 2
        assert all("Authorization" not in request.headers for request in storage.requests)
    assert all(r.headers["Authorization"] == "Bearer hf_secret" for r in hub.requests)


def test_no_telemetry_is_sent(hub: HubServer, repo: Repo, target: Path) -> None:
    fetch(target)
    assert {request.headers["User-Agent"].partition("/")[0] for request in hub.requests} == {
        "localq"
    }
    assert len(hub.requests) == 2 + 3


def test_a_missing_model_and_a_missing_revision(hub: HubServer, repo: Repo) -> None:
    with pytest.raises(NotFoundError, match="no model 'org/other'"):
        resolve("org/other")
    with pytest.raises(NotFoundError, match="no revision 'v9'"):
        resolve("org/name@v9")
    assert resolve(f"org/name@{repo.commit}").revision == repo.commit


def test_a_file_that_went_away_is_said(hub: HubServer, repo: Repo, target: Path) -> None:
    source = resolve()
    gone = next(file for file in source.files if file.path == BIG)
    del repo.files[BIG]
    with pytest.raises(NotFoundError, match="no longer has the file"):
        fetch_all(source, {target / BIG: gone}, emit=ignore, cancel=threading.Event())


def test_a_renamed_repository_has_its_new_name(hub: HubServer, repo: Repo) -> None:
    hub.renamed["old/name"] = "org/name"
    assert resolve("old/name").repo == "org/name"


def test_long_listings_come_in_pages(hub: HubServer, repo: Repo, target: Path) -> None:
    hub.page_size = 1
    assert {file.path for file in resolve().files} == set(repo.files)


def test_an_endpoint_that_is_no_hub(hub: HubServer, repo: Repo) -> None:
    hub.faults.append(Refuse("/revision/main", status=200, body=b"<html>Please log in</html>"))
    with pytest.raises(HubError, match="does not answer as a Hub does"):
        resolve()
    repo.extra_entries.append({"type": "file", "path": "x"})
    with pytest.raises(HubError, match="makes no sense"):
        resolve()


def test_no_network(home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with only_this_hub(monkeypatch, closed_port_url(), tmp_path):
        with pytest.raises(OfflineError, match=r"127\.0\.0\.1 cannot be reached") as caught:
            resolve(policy=RetryPolicy(first_delay=1000))
        assert "HF_ENDPOINT" in str(caught.value.hint)


def test_a_network_that_goes_away_in_between(
    repo: Repo, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = resolve()
    away = HubSource(HubSession(closed_port_url()), source.repo, source.revision, source.files)
    with pytest.raises(OfflineError):
        fetch_all(
            away,
            {target / BIG: source.files[-1]},
            emit=ignore,
            cancel=threading.Event(),
            policy=AT_ONCE,
        )


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_means_no_request(
    hub: HubServer, repo: Repo, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(OfflineError, match=variable):
        resolve()
    assert hub.requests == []
    monkeypatch.setenv(variable, "0")
    resolve()


def test_a_folder_is_a_source_too(tmp_path: Path, target: Path) -> None:
    origin = tmp_path / "origin"
    (origin / "sub").mkdir(parents=True)
    (origin / "config.json").write_bytes(b"{}")
    (origin / BIG).write_bytes(bytes(3 << 20))
    source = FolderSource.of(origin, repo="demo/x", revision="embedded")
    (target / BIG).write_bytes(bytes(5))
    targets = {target / file.path: file for file in source.files}
    assert sorted(path.name for path in targets) == ["config.json", BIG]
    moved = fetch_all(source, targets, emit=ignore, cancel=threading.Event())
    assert moved == 2 + (3 << 20) - 5
    assert (target / BIG).read_bytes() == (origin / BIG).read_bytes()
    shutil.rmtree(origin)
    with pytest.raises(LocalqError):
        fetch_all(
            source, {target / "again": source.files[0]}, emit=ignore, cancel=threading.Event()
        )
    with pytest.raises(NotFoundError):
        FolderSource.of(origin, repo="demo/x", revision="embedded")


def test_what_matches_is_the_content(hub: HubServer, repo: Repo, target: Path) -> None:
    file: RemoteFile = next(file for file in resolve().files if file.path == BIG)
    path, cancel = target / BIG, threading.Event()
    assert not matches(path, file, cancel)
    path.write_bytes(bytes(SIZE))
    assert not matches(path, file, cancel)
    path.write_bytes(repo.files[BIG])
    assert matches(path, file, cancel)
    cancel.set()
    with pytest.raises(Cancelled):
        matches(path, file, cancel)


def test_staging_leaves_nothing_empty_and_drops_other_commits(tmp_path: Path) -> None:
    root = tmp_path / "partial"
    with staging_folder(root, "org/name", "a" * 40) as folder:
        (folder / BIG).write_bytes(b"part")
    assert (folder / BIG).read_bytes() == b"part"
    with staging_folder(root, "org/name", "b" * 40):
        assert not folder.exists()
    assert list(root.iterdir()) == []


def test_only_one_process_works_on_a_model(tmp_path: Path) -> None:
    with staging_folder(tmp_path, "org/name", "a" * 40) as folder:
        failures: list[LocalqError] = []

        def second() -> None:
            try:
                with staging_folder(tmp_path, "org/name", "a" * 40):
                    pass
            except LocalqError as error:
                failures.append(error)

        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        assert [error.message for error in failures] == [
            "org/name is being pulled by another localq"
        ]
        assert folder.is_dir()


def test_a_full_disk_is_said_before_anything_is_fetched(tmp_path: Path) -> None:
    refuse_full_disk(tmp_path, 1000)
    with pytest.raises(StorageError, match="are needed") as caught:
        refuse_full_disk(tmp_path, 1 << 60)
    assert "LOCALQ_HOME" in str(caught.value.hint)
