"""What the Hub answers and what the environment says, without a network."""

from __future__ import annotations

import threading
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from localq.errors import (
    Cancelled,
    HubError,
    LocalqError,
    NotFoundError,
    OfflineError,
    UsageError,
)
from localq.events import JobEvent, Note
from localq.hub import RetryPolicy, environment
from localq.hub.backoff import Backoff
from localq.hub.listing import repo_state, tree_files
from localq.hub.refusals import Asked, refusal, retry_after
from localq.hub.source import DigestKind, TransferInterrupted

COMMIT = "0123456789abcdef" * 2 + "01234567"
BLOB = {"type": "file", "path": "config.json", "size": 3, "oid": "a" * 40}


def test_the_listing_gives_sizes_and_checksums() -> None:
    lfs = {**BLOB, "path": "m.safetensors", "lfs": {"oid": "sha256:" + "b" * 64, "size": 99}}
    folder = {"type": "directory", "path": "onnx", "size": 0, "oid": "c" * 40}
    plain, large = tree_files([BLOB, folder, lfs], "org/name")
    assert (plain.size, plain.digest.kind, plain.digest.hex) == (3, DigestKind.GIT_BLOB, "a" * 40)
    assert (large.size, large.digest.kind, large.digest.hex) == (99, DigestKind.SHA256, "b" * 64)


@pytest.mark.parametrize(
    "entry",
    [
        7,
        {"type": "file"},
        {**BLOB, "path": ""},
        {**BLOB, "path": "x" * 2000},
        {**BLOB, "path": 7},
        {**BLOB, "size": -1},
        {**BLOB, "size": True},
        {**BLOB, "size": 1 << 60},
        {**BLOB, "oid": "zz"},
        {**BLOB, "oid": None},
        {**BLOB, "lfs": "x"},
        {**BLOB, "lfs": {"oid": "a" * 40, "size": 3}},
    ],
)
def test_a_listing_that_makes_no_sense_is_refused(entry: object) -> None:
    with pytest.raises(HubError, match="makes no sense"):
        list(tree_files([entry], "org/name"))


@pytest.mark.parametrize("answer", [None, [], {}, {"sha": "main"}, {"sha": 5}])
def test_an_answer_without_a_commit_is_refused(answer: object) -> None:
    with pytest.raises(HubError):
        repo_state(answer, "org/name")
    with pytest.raises(HubError):
        list(tree_files({}, "org/name"))


def test_the_hubs_name_for_a_repository_counts_if_it_is_one() -> None:
    answer: dict[str, Any] = {"sha": COMMIT, "id": "Org/Name"}
    assert repo_state(answer, "org/name") == ("Org/Name", COMMIT)
    assert repo_state({**answer, "id": "../../x"}, "org/name") == ("org/name", COMMIT)


def refused(status: int, *, has_token: bool = False, **headers: str) -> LocalqError:
    asked = Asked("hub.test", "org/name", "main", has_token=has_token)
    return refusal(status, {k.replace("_", "-"): v for k, v in headers.items()}, asked)


def test_every_refusal_has_its_meaning() -> None:
    assert isinstance(refused(404, X_Error_Code="RevisionNotFound"), NotFoundError)
    assert isinstance(refused(404, X_Error_Code="EntryNotFound"), NotFoundError)
    assert isinstance(refused(503), TransferInterrupted)
    missing = refused(401, X_Error_Code="RepoNotFound")
    assert isinstance(missing, NotFoundError)
    assert "private" in missing.message
    assert "private" not in refused(404, has_token=True).message
    gated = refused(403, X_Error_Code="GatedRepo")
    assert isinstance(gated, HubError)
    assert "HF_TOKEN" in str(gated.hint)
    assert "account of your token" in str(
        refused(403, has_token=True, X_Error_Code="GatedRepo").hint
    )
    token = refused(401, X_Error_Message="Invalid credentials in Authorization header")
    assert "does not accept your token" in token.message
    assert "forbids" in refused(403).message
    strange = refused(418, X_Error_Message="\x1b[31mno\r\n")
    assert strange.message.isprintable()
    assert "418" in strange.message
    assert "599" in refused(599).message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": " 0 "}, 0.0),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": formatdate(1060, usegmt=True)}, 60.0),
        ({"Retry-After": formatdate(10, usegmt=True)}, 0.0),
        ({"RateLimit": '"api";r=0;t=55'}, 55.0),
        ({"RateLimit": '"api";r=9;t=55'}, None),
    ],
)
def test_how_long_a_server_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=1000) == seconds


class _Waits(threading.Event):
    """Remembers how long it was waited on, and does not."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout)
        return self.is_set()


def test_patience_doubles_obeys_the_server_and_ends() -> None:
    cancel = _Waits()
    notes: list[JobEvent] = []
    backoff = Backoff(RetryPolicy(4, first_delay=1, longest_delay=3), cancel, notes.append)
    for _ in range(3):
        backoff.wait(TransferInterrupted("broken"))
    backoff.wait(TransferInterrupted("busy", retry_after=20))
    assert cancel.seconds == [1, 2, 3, 20]
    assert notes[-1] == Note("busy; trying again in 20 s", warning=True)
    with pytest.raises(OfflineError):
        backoff.wait(OfflineError("gone"))
    backoff.progressed()
    with pytest.raises(HubError, match="asks to wait 3,600 seconds"):
        backoff.wait(TransferInterrupted("busy", retry_after=3600))


def test_a_wait_can_be_cancelled() -> None:
    cancel = threading.Event()
    cancel.set()
    backoff = Backoff(RetryPolicy(first_delay=1000), cancel, lambda event: None)
    with pytest.raises(Cancelled):
        backoff.wait(TransferInterrupted("broken"))


def test_the_endpoint_is_the_users() -> None:
    assert environment.endpoint({}) == "https://huggingface.co"
    assert environment.endpoint({"HF_ENDPOINT": "http://mirror.test:81/hf/ "}) == (
        "http://mirror.test:81/hf"
    )


@pytest.mark.parametrize("address", ["mirror", "ftp://x", "https://", "http://a b", "http://x:y"])
def test_an_endpoint_that_is_none(address: str) -> None:
    with pytest.raises(UsageError, match="HF_ENDPOINT"):
        environment.endpoint({"HF_ENDPOINT": address})


@pytest.mark.parametrize("value", ["1", "true", "ON", "yes"])
def test_offline_is_what_the_user_says(value: str) -> None:
    with pytest.raises(OfflineError, match="HF_HUB_OFFLINE"):
        environment.refuse_offline({"HF_HUB_OFFLINE": value})
    environment.refuse_offline({"HF_HUB_OFFLINE": "0"})


def test_the_token_comes_from_the_variable_or_the_file(tmp_path: Path) -> None:
    environ = {"HF_HOME": str(tmp_path)}
    assert environment.token_file(environ) is None
    (tmp_path / "token").write_text("hf_file\n")
    assert environment.token_file(environ) == "hf_file"
    assert environment.token_file({**environ, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}) is None
    assert environment.token_variable({"HF_TOKEN": " hf_variable "}) == "hf_variable"
    assert environment.token_variable(environ) is None
    assert environment.token_path({"HF_TOKEN_PATH": "/x/t"}) == Path("/x/t")
    assert environment.token_path({"XDG_CACHE_HOME": "/c"}) == Path("/c/huggingface/token")


@pytest.mark.parametrize("secret", ["hf_a\nX-Evil: 1", "hf_\u00e9", "two words"])
def test_a_token_that_is_none_is_not_shown(secret: str) -> None:
    with pytest.raises(UsageError) as caught:
        environment.token_variable({"HF_TOKEN": secret})
    assert secret not in str(caught.value)
