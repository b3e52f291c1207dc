"""What stands between a user and the Hub: login pages, proxies, links that ran out, silence."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import close_session

from localq.errors import Cancelled, HubError, NotFoundError, OfflineError, UsageError
from localq.events import JobEvent, Note, ignore
from localq.hub import RetryPolicy, fetch_all, parse_spec, progress, session, waiting
from localq.hub.answers import refuse_other_content
from localq.hub.repository import HubSource
from localq.hub.search import SearchOrder, search_models
from localq.hub.source import Damaged, Digest, DigestKind, RemoteFile, TransferInterrupted
from tests.hub_server import Cut, HubServer, Move, Refuse, Repo, Resize, Silent, closed_port_url
from tests.socks_server import SocksServer

BIG, SIZE = "model.safetensors", 300_000
PAGE = b"<!DOCTYPE html><html><body>Welcome to the hotel. Please log in.</body></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 300000\n"
AT_ONCE = RetryPolicy(retries=3, first_delay=0)
NEVER = RetryPolicy(retries=0)


@pytest.fixture
def repo(hub: HubServer, tmp_path: Path) -> Repo:
    folder = tmp_path / "served"
    folder.mkdir()
    words = (hashlib.sha256(b"%d" % number).digest() for number in range(SIZE // 32 + 1))
    (folder / BIG).write_bytes(b"".join(words)[:SIZE])
    return hub.add_repo("org/name", folder)


@pytest.fixture
def begun(hub: HubServer, repo: Repo, tmp_path: Path) -> Path:
    """A file of which 200,000 bytes have come."""
    target = tmp_path / BIG
    target.write_bytes(repo.files[BIG][:200_000])
    return target


def resolve(policy: RetryPolicy = NEVER, events: list[JobEvent] | None = None) -> HubSource:
    emit = ignore if events is None else events.append
    return HubSource.resolve(
        parse_spec("org/name"), emit=emit, cancel=threading.Event(), policy=policy
    )


def fetch(target: Path, policy: RetryPolicy = AT_ONCE, events: list[JobEvent] | None = None) -> int:
    source = resolve()
    emit = ignore if events is None else events.append
    targets = {target: source.files[0]}
    return fetch_all(source, targets, emit=emit, cancel=threading.Event(), policy=policy)


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_login_page_costs_nothing_that_has_come(
    hub: HubServer, repo: Repo, begun: Path, kind: str
) -> None:
    hub.faults.append(Refuse(BIG, 9, status=200, headers={"Content-Type": kind}, body=PAGE))
    with pytest.raises(TransferInterrupted, match="sent a web page in place of") as caught:
        fetch(begun, NEVER)
    assert "log in" in str(caught.value.hint)
    assert begun.stat().st_size == 200_000
    hub.faults.clear()
    fetch(begun)
    assert begun.read_bytes() == repo.files[BIG]
    assert hub.sent[BIG] == SIZE - 200_000


def test_a_login_page_that_goes_away_is_waited_for(hub: HubServer, repo: Repo, begun: Path) -> None:
    hub.faults.append(Refuse(BIG, 2, status=200, body=PAGE))
    fetch(begun)
    assert begun.read_bytes() == repo.files[BIG]
    assert hub.sent[BIG] == SIZE - 200_000


def test_a_page_in_place_of_a_file_that_has_not_begun(
    hub: HubServer, repo: Repo, tmp_path: Path
) -> None:
    hub.faults.append(Refuse(BIG, 9, status=200, body=PAGE))
    with pytest.raises(TransferInterrupted, match=f"web page in place of {BIG}"):
        fetch(tmp_path / BIG)
    assert (tmp_path / BIG).read_bytes() == b""


def test_a_pointer_costs_nothing_that_has_come(hub: HubServer, repo: Repo, begun: Path) -> None:
    hub.faults.append(Refuse(BIG, 2, status=200, body=POINTER))
    with pytest.raises(HubError, match="a Git LFS pointer came in its place"):
        fetch(begun)
    assert begun.stat().st_size == 200_000
    fetch(begun)
    assert hub.sent[BIG] == SIZE - 200_000


@pytest.mark.parametrize("size", [250_000, 350_000])
def test_another_length_costs_nothing_that_has_come(
    hub: HubServer, repo: Repo, begun: Path, size: int
) -> None:
    hub.faults.append(Resize(BIG, 2, size=size))
    with pytest.raises(HubError, match=r"arrived damaged twice: it is (shorter|longer) than"):
        fetch(begun)
    assert begun.stat().st_size == 200_000


def test_a_server_without_ranges_costs_nothing_that_has_come(
    hub: HubServer, repo: Repo, begun: Path
) -> None:
    hub.ignores_ranges = True
    hub.faults.append(Cut(BIG, 1, after=100_000))
    with pytest.raises(TransferInterrupted):
        fetch(begun, NEVER)
    assert begun.stat().st_size == 200_000
    fetch(begun)
    assert begun.read_bytes() == repo.files[BIG]


def test_answers_without_a_length_are_judged_by_how_they_begin() -> None:
    file = RemoteFile("model.gguf", 10_000, Digest(DigestKind.SHA256, "0" * 64))
    with pytest.raises(TransferInterrupted, match="web page"):
        refuse_other_content(file, {}, b"\r\n <HTML>", "hub")
    with pytest.raises(Damaged, match="pointer"):
        refuse_other_content(file, {}, POINTER, "hub")
    refuse_other_content(file, {}, b"GGUF", "hub")
    page = RemoteFile("page.html", 10_000, Digest(DigestKind.GIT_BLOB, "0" * 40))
    refuse_other_content(page, {"Content-Type": "text/html"}, PAGE, "hub")


def test_a_link_that_ran_out_is_asked_for_anew(
    hub: HubServer, repo: Repo, begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    with HubServer() as storage:
        storage.add_repo("org/name", tmp_path / "served")
        repo.elsewhere = storage
        storage.faults.append(Refuse(BIG, 2, status=403, body=b"<Error>Expired</Error>"))
        before = len(hub.requests)
        fetch(begun)
        assert begun.read_bytes() == repo.files[BIG]
        assert sum("resolve" in request.path for request in hub.requests[before:]) == 3
        begun.unlink()
        storage.faults.append(Refuse(BIG, 9, status=403, body=b"<Error>Expired</Error>"))
        with pytest.raises(HubError, match=f"{storage.url[7:]} answers 403 Forbidden") as caught:
            fetch(begun)
    assert "token" not in f"{caught.value.message} {caught.value.hint}"
    assert "tried 4 times" in caught.value.message


def test_the_hubs_own_no_is_final(
    hub: HubServer, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.faults.append(Refuse(BIG, 9, status=403))
    with pytest.raises(HubError, match="forbids org/name"):
        fetch(tmp_path / BIG)
    assert hub.paths().count(f"/org/name/resolve/{repo.commit}/{BIG}") == 1


def test_redirects_in_a_circle(hub: HubServer, repo: Repo) -> None:
    there = f"{hub.url}/api/models/org/name/revision/main"
    hub.faults.append(Refuse("/main", 99, status=302, headers={"Location": there}, body=b""))
    with pytest.raises(HubError, match="leads in a circle") as caught:
        resolve()
    assert "login page" in str(caught.value.hint)


def test_a_network_that_wants_a_login_first(hub: HubServer, repo: Repo) -> None:
    hub.faults.append(Refuse("/main", 99, status=511))
    with pytest.raises(HubError, match="wants you to log in"):
        resolve()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence counts as such much sooner."""
    monkeypatch.setattr(session, "_TIMEOUT", httpx2.Timeout(0.5))
    monkeypatch.setattr(waiting, "QUIET_SECONDS", 0.2)
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.2)


@pytest.mark.usefixtures("hasty")
def test_silence_is_told_while_it_lasts(hub: HubServer, repo: Repo, tmp_path: Path) -> None:
    events: list[JobEvent] = []
    hub.faults.append(Silent("/main"))
    resolve(AT_ONCE, events)
    host = hub.url.removeprefix("http://")
    assert events == [Note(f"waiting for {host}: no answer for 0 s")]
    events.clear()
    hub.faults.append(Silent(BIG))
    fetch(tmp_path / BIG, AT_ONCE, events)
    notes = [event.text for event in events if isinstance(event, Note)]
    assert notes == ["downloading: nothing has come for 0 s"]


@pytest.mark.usefixtures("hasty")
def test_silence_that_does_not_end(hub: HubServer, repo: Repo, tmp_path: Path) -> None:
    hub.faults.append(Silent(BIG, 9))
    with pytest.raises(TransferInterrupted, match="has sent nothing for 10 s; tried 4 times"):
        fetch(tmp_path / BIG, AT_ONCE)


def test_a_silent_hub_can_be_left_at_once(hub: HubServer, repo: Repo) -> None:
    """The time-out is 10 s; the test would take as long."""
    hub.faults.append(Silent("/main"))
    cancel = threading.Event()

    def leave() -> None:
        hub.asked.wait(60)
        cancel.set()

    threading.Thread(target=leave).start()
    with pytest.raises(Cancelled) as caught:
        HubSource.resolve(parse_spec("org/name"), emit=ignore, cancel=cancel)
    assert "download" not in caught.value.message


def test_a_stopped_search_speaks_of_no_download(hub: HubServer) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled) as caught:
        search_models(
            "x", gguf=False, order=SearchOrder.DOWNLOADS, limit=5, emit=ignore, cancel=cancel
        )
    assert caught.value.message == "stopped"


@pytest.fixture
def proxied(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Proxies count, also for this machine."""
    for name in ("NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    close_session()
    yield monkeypatch
    close_session()


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_is_gone_through(
    hub: HubServer, repo: Repo, tmp_path: Path, proxied: pytest.MonkeyPatch, scheme: str
) -> None:
    with SocksServer() as proxy:
        proxied.setenv("ALL_PROXY", proxy.url.replace("socks5", scheme))
        fetch(tmp_path / BIG)
        close_session()
    assert (tmp_path / BIG).read_bytes() == repo.files[BIG]
    assert {f":{port}" for port in proxy.asked_for} == {hub.url[hub.url.rindex(":") :]}


@pytest.mark.parametrize("address", ["ftp://me:secret@127.0.0.1:9", "socks4://x:1", "http://[::1"])
def test_a_proxy_that_cannot_be_used_is_named(proxied: pytest.MonkeyPatch, address: str) -> None:
    proxied.setenv("ALL_PROXY", address)
    with pytest.raises(UsageError, match="ALL_PROXY names a proxy that cannot be used") as caught:
        resolve()
    assert "secret" not in f"{caught.value.message} {caught.value.hint}"


def test_a_proxy_that_is_not_there(proxied: pytest.MonkeyPatch) -> None:
    proxied.setenv("ALL_PROXY", closed_port_url().replace("http", "socks5"))
    with pytest.raises(OfflineError) as caught:
        resolve()
    assert "ALL_PROXY" in str(caught.value.hint)


def test_certificates_that_are_not_there(proxied: pytest.MonkeyPatch) -> None:
    proxied.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    with pytest.raises(UsageError, match="SSL_CERT_FILE: the certificates cannot be read"):
        resolve()


def test_a_branch_that_moves_while_it_is_asked_for(
    hub: HubServer, repo: Repo, tmp_path: Path
) -> None:
    """A forced push between the question for the commit and that for its files."""
    new = tmp_path / "new"
    new.mkdir()
    (new / BIG).write_bytes(b"new")
    hub.faults.append(Move("/revision/main", folder=new, forget=True))
    source = resolve()
    assert source.revision == hub.repos["org/name"].commit
    assert [file.size for file in source.files] == [3]


def test_a_commit_that_is_gone_is_said_so(hub: HubServer, repo: Repo, tmp_path: Path) -> None:
    source = resolve()
    new = tmp_path / "new"
    new.mkdir()
    (new / BIG).write_bytes(b"new")
    hub.add_repo("org/name", new).earlier.clear()
    with pytest.raises(NotFoundError, match="moved on: its commit") as caught:
        fetch_all(source, {tmp_path / BIG: source.files[0]}, emit=ignore, cancel=threading.Event())
    assert str(caught.value.hint).startswith("run the same command again")
