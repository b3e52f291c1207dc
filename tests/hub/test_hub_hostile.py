"""A Hub, or someone between, that means no good; and one that merely changes its mind."""

from __future__ import annotations

import gzip
import json
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from localq.errors import HubError, LocalqError, NotFoundError
from localq.events import ignore
from localq.hub import RetryPolicy, fetch_all, parse_spec
from localq.hub.repository import HubSource
from localq.paths import Paths
from tests.hub_server import HubServer, Move, Refuse, Repo, Slow, only_this_hub

AT_ONCE = RetryPolicy(retries=2, first_delay=0)
BIG = "model.safetensors"


@pytest.fixture
def hub(home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as server, only_this_hub(monkeypatch, server.url, tmp_path / "hf"):
        yield server


@pytest.fixture
def served(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / BIG).write_bytes(bytes(range(256)) * 400)
    return folder


@pytest.fixture
def repo(hub: HubServer, served: Path) -> Repo:
    return hub.add_repo("org/name", served)


def resolve(spec: str = "org/name") -> HubSource:
    return HubSource.resolve(
        parse_spec(spec), emit=ignore, cancel=threading.Event(), policy=AT_ONCE
    )


def fetch(source: HubSource, target: Path) -> None:
    target.mkdir(exist_ok=True)
    files = {target / file.path: file for file in source.files}
    fetch_all(source, files, emit=ignore, cancel=threading.Event(), policy=AT_ONCE)


def answers(hub: HubServer, suffix: str, body: bytes, **headers: str) -> None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    hub.faults.append(Refuse(suffix, status=200, headers=named, body=body))


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"sha": ' * 200_000,
        b'{"sha": 1' + b"0" * 10_000 + b"}",
        b"\xff\xfe\x00",
        b"",
    ],
    ids=["deep lists", "deep objects", "a long number", "no text", "nothing"],
)
def test_json_that_is_a_trap(hub: HubServer, repo: Repo, body: bytes) -> None:
    answers(hub, "/revision/main", body)
    with pytest.raises(HubError, match="does not answer as a Hub does"):
        resolve()


@pytest.mark.parametrize("packed", [False, True])
def test_an_answer_too_long_to_be_right(hub: HubServer, repo: Repo, packed: bool) -> None:
    long = b"[" + b"[],[]," * (17 << 18) + b"[]]"
    if packed:
        answers(hub, f"tree/{repo.commit}", gzip.compress(long), Content_Encoding="gzip")
    else:
        answers(hub, f"tree/{repo.commit}", long)
    tracemalloc.start()
    try:
        with pytest.raises(HubError, match="too long to be right"):
            resolve()
        assert tracemalloc.get_traced_memory()[1] < 256 << 20
    finally:
        tracemalloc.stop()


def test_an_encoding_nobody_asked_for(hub: HubServer, repo: Repo) -> None:
    answers(hub, "/revision/main", b"x", Content_Encoding="gzip, gzip")
    with pytest.raises(HubError, match="did not ask for"):
        resolve()


def test_a_repository_of_too_many_files(
    hub: HubServer, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localq.hub.repository._MAX_FILES", 10)
    entry = {"type": "file", "size": 1, "oid": "0" * 40}
    repo.extra_entries += [{**entry, "path": f"{number}.txt"} for number in range(12)]
    with pytest.raises(HubError, match="more than 10 files"):
        resolve()


def test_a_list_that_never_ends(hub: HubServer, repo: Repo) -> None:
    address = f"{hub.url}/api/models/org/name/tree/{repo.commit}?cursor=0"
    body = b'[{"type": "directory", "path": "x"}]'
    hub.faults.append(
        Refuse("", times=-1, status=200, headers={"Link": f'<{address}>; rel="next"'}, body=body)
    )
    source = HubSource.resolve
    with pytest.raises(HubError):
        source(parse_spec("org/name"), emit=ignore, cancel=threading.Event(), policy=AT_ONCE)
    hub.faults[0].suffix = f"tree/{repo.commit}"
    with pytest.raises(HubError, match="does not end"):
        resolve()


def test_the_next_page_is_asked_of_the_same_hub_only(
    hub: HubServer, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with HubServer() as other:
        page = json.dumps([repo.entry("config.json")]).encode()
        link = f'<{other.url}/api/models/org/name/tree/main?cursor=1&recursive=true>; rel="next"'
        answers(hub, f"tree/{repo.commit}", page, Link=link)
        assert {file.path for file in resolve().files} == set(repo.files)
        assert other.requests == []
    assert "cursor=1" in hub.requests[-1].path


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("file:///etc/passwd", "not on the web"),
        ("ftp://example.org/x", "not on the web"),
        ("gopher://example.org/x", "not on the web"),
        ("/org/name/resolve/main/model.safetensors", "redirect"),
    ],
)
def test_redirects_that_lead_nowhere(
    hub: HubServer, repo: Repo, tmp_path: Path, target: str, complaint: str
) -> None:
    source = resolve()
    hub.faults.append(Refuse(BIG, times=-1, status=302, headers={"Location": target}))
    with pytest.raises(HubError, match=complaint):
        fetch(source, tmp_path / "here")
    assert sum(path.endswith(BIG) for path in hub.paths()) < 25


@pytest.mark.parametrize("kind", ["wrong", "private", "good"])
def test_a_token_that_is_wrong_or_opens_what_is_private(
    hub: HubServer, repo: Repo, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    hub.tokens = {"hf_good", "hf_strange"}
    repo.private_for = "hf_good"
    monkeypatch.setenv(
        "HF_TOKEN", {"wrong": "hf_bad", "private": "hf_strange"}.get(kind, "hf_good")
    )
    if kind == "good":
        assert resolve().repo == "org/name"
        return
    with pytest.raises(HubError if kind == "wrong" else NotFoundError) as caught:
        resolve()
    assert ("does not accept your token" in caught.value.message) == (kind == "wrong")
    assert "hf auth login" in str(caught.value.hint)
    assert "hf_bad" not in f"{caught.value.message}{caught.value.hint}"


def test_a_branch_that_moves_meanwhile_changes_nothing(
    hub: HubServer, repo: Repo, served: Path, tmp_path: Path
) -> None:
    before = dict(repo.files)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "config.json").write_text('{"new": true}')
    hub.faults.append(Move("/revision/main", folder=tmp_path / "new"))
    source = resolve()
    fetch(source, tmp_path / "here")
    assert {p.name: p.read_bytes() for p in (tmp_path / "here").iterdir()} == before
    assert source.revision == repo.commit != resolve().revision


def test_a_commit_that_was_taken_back_is_said(hub: HubServer, repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "config.json").write_text('{"new": true}')
    hub.faults.append(Move(f"tree/{repo.commit}", folder=tmp_path / "new", forget=True))
    source = resolve()
    with pytest.raises(NotFoundError, match=f"its commit {repo.commit[:12]} is gone") as caught:
        fetch(source, tmp_path / "here")
    assert caught.value.hint == "run the same command again: it asks for the latest files"


def test_a_slow_hub_is_waited_for_and_a_dead_one_left(
    hub: HubServer, repo: Repo, tmp_path: Path
) -> None:
    source = resolve()
    hub.faults.append(Slow(BIG, bytes_per_second=400_000))
    began = time.monotonic()
    fetch(source, tmp_path / "here")
    assert time.monotonic() - began > 0.2
    assert (tmp_path / "here" / BIG).read_bytes() == repo.files[BIG]


def test_a_file_called_anything_is_asked_for_by_that_name(
    hub: HubServer, served: Path, tmp_path: Path
) -> None:
    (served / "a b#c?d%41é.txt").write_text("x")
    hub.add_repo("org/odd", served)
    fetch(resolve("org/odd"), tmp_path / "here")
    assert (tmp_path / "here" / "a b#c?d%41é.txt").read_text() == "x"


def test_an_error_text_cannot_drive_the_terminal(hub: HubServer, repo: Repo) -> None:
    hub.faults.append(
        Refuse("/revision/main", status=418, headers={"X-Error-Message": "a\x1b[2Jb"})
    )
    with pytest.raises(LocalqError) as caught:
        resolve()
    assert caught.value.message.isprintable()
