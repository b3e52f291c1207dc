"""Several files at once: one progress, one who hears of it, and all of them stop together."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from localq.errors import Cancelled, HubError
from localq.events import JobEvent, Note, Progress, ignore
from localq.hub import RetryPolicy, fetch_all, parse_spec
from localq.hub.fetch import FILES_AT_ONCE
from localq.hub.hashing import HashingAside
from localq.hub.repository import HubSource
from localq.paths import Paths
from tests.hub_server import Cut, FlipByte, HubServer, Refuse, Repo, Slow, only_this_hub

SIZE = 200_000
SHARDS = 6
AT_ONCE = RetryPolicy(retries=3, first_delay=0)
STALLED = 0.001
"""Bytes per second: after the first, nothing comes."""


@pytest.fixture
def hub(home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr("localq.hub.session._TIMEOUT", httpx2.Timeout(600.0))
    with HubServer() as server, only_this_hub(monkeypatch, server.url, tmp_path / "hf"):
        yield server


@pytest.fixture
def repo(hub: HubServer, tmp_path: Path) -> Repo:
    folder = tmp_path / "served"
    folder.mkdir()
    for number in range(SHARDS):
        (folder / f"{number}.safetensors").write_bytes(bytes([number]) * SIZE)
    return hub.add_repo("org/name", folder)


@pytest.fixture
def source(repo: Repo) -> HubSource:
    return HubSource.resolve(parse_spec("org/name"), emit=ignore, cancel=threading.Event())


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def fetch(
    source: HubSource,
    target: Path,
    events: list[JobEvent] | None = None,
    policy: RetryPolicy = AT_ONCE,
) -> int:
    files = {target / file.path: file for file in source.files}
    emit = ignore if events is None else events.append
    return fetch_all(source, files, emit=emit, cancel=threading.Event(), policy=policy)


def arrived(target: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in target.iterdir()}


def test_as_many_files_come_at_once_as_shall(
    hub: HubServer, source: HubSource, target: Path
) -> None:
    hub.faults.append(Slow(".safetensors", times=-1, bytes_per_second=STALLED))
    cancel = threading.Event()
    began = time.monotonic()

    def stop_when_all_are_on_their_way(event: JobEvent) -> None:
        if isinstance(event, Progress) and event.done == FILES_AT_ONCE:
            cancel.set()

    files = {target / file.path: file for file in source.files}
    with pytest.raises(Cancelled):
        fetch_all(source, files, emit=stop_when_all_are_on_their_way, cancel=cancel)
    assert time.monotonic() - began < 300  # not the ten minutes that a silence may last
    assert sum("resolve" in path for path in hub.paths()) == FILES_AT_ONCE
    assert sorted(map(len, arrived(target).values())) == [1] * FILES_AT_ONCE
    hub.faults.clear()
    assert fetch(source, target) == SHARDS * SIZE - FILES_AT_ONCE
    assert hub.sent.total() == SHARDS * SIZE


def test_one_failure_stops_the_others_and_keeps_what_they_have(
    hub: HubServer, source: HubSource, target: Path
) -> None:
    hub.faults += [
        Refuse("3.safetensors", status=451),
        Slow(".safetensors", times=-1, bytes_per_second=200),
    ]
    began = time.monotonic()
    with pytest.raises(HubError, match="451"):
        fetch(source, target)
    assert time.monotonic() - began < 300  # a file takes a thousand seconds
    assert not (target / "5.safetensors").exists()
    before = sum(map(len, arrived(target).values()))
    hub.faults.clear()
    assert fetch(source, target) == SHARDS * SIZE - before


def test_one_thread_alone_hears_of_it(hub: HubServer, source: HubSource, target: Path) -> None:
    threads: set[int] = set()
    files = {target / file.path: file for file in source.files}
    hub.faults.append(Slow("0.safetensors", bytes_per_second=1_000_000))
    fetch_all(
        source,
        files,
        emit=lambda event: threads.add(threading.get_ident()),
        cancel=threading.Event(),
    )
    assert threads == {threading.get_ident()}


def test_a_reason_to_wait_is_told_once(hub: HubServer, source: HubSource, target: Path) -> None:
    busy = {"Retry-After": "1"}
    hub.faults.append(Refuse(".safetensors", times=3, status=429, headers=busy))
    events: list[JobEvent] = []
    fetch(source, target, events)
    assert [event.text for event in events if isinstance(event, Note)] == [
        "127.0.0.1:{} answers 429 Too Many Requests; trying again in 1 s".format(
            hub.url.rpartition(":")[2]
        )
    ]
    done = [event.done for event in events if isinstance(event, Progress)]
    assert done[-1] == SHARDS * SIZE
    assert done == sorted(done)


def test_every_file_has_its_own_luck(
    hub: HubServer, repo: Repo, source: HubSource, target: Path
) -> None:
    hub.faults += [
        Cut("0.safetensors", after=90_000),
        FlipByte("1.safetensors", at=SIZE - 1),
        Refuse("2.safetensors", times=2),
        Cut("3.safetensors", after=10),
    ]
    events: list[JobEvent] = []
    fetch(source, target, events)
    assert arrived(target) == dict(repo.files)
    assert events[-1] == Progress("downloading", SHARDS * SIZE, SHARDS * SIZE)


def test_no_more_threads_than_files(hub: HubServer, source: HubSource, target: Path) -> None:
    running: list[int] = []
    hub.faults.append(Slow(".safetensors", bytes_per_second=2_000_000))
    before = threading.active_count()
    file = source.files[0]
    fetch_all(
        source,
        {target / file.path: file},
        emit=lambda event: running.append(threading.active_count() - before),
        cancel=threading.Event(),
    )
    # The server's own thread for the connection is one of them.
    assert max(running) <= 2


@pytest.mark.parametrize("pieces", [[], [b"x"], [b"ab" * 700_000, b"c", b"d" * 3_000_000, b""]])
def test_a_checksum_computed_aside_is_the_same(pieces: list[bytes]) -> None:
    with ThreadPoolExecutor(1) as pool:
        aside = HashingAside(hashlib.sha256(), pool)
        for piece in pieces:
            aside.update(piece)
        assert aside.hexdigest() == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_large_files_are_hashed_aside_with_the_same_luck(
    hub: HubServer,
    repo: Repo,
    source: HubSource,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("localq.hub.fetch._LARGE", 1)
    monkeypatch.setattr("os.cpu_count", lambda: SHARDS + 1)
    hub.faults += [
        Cut("0.safetensors", after=90_000),
        FlipByte("1.safetensors", at=SIZE - 1),
        FlipByte("2.safetensors", at=0),
    ]
    (target / "3.safetensors").write_bytes(repo.files["3.safetensors"][:1000])
    (target / "4.safetensors").write_bytes(b"wrong")
    fetch(source, target)
    assert arrived(target) == dict(repo.files)
    assert not [t.name for t in threading.enumerate() if t.name.startswith(("hash", "fetch"))]
