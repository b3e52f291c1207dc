"""One small file of a dataset."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from localq.errors import Cancelled, HubError, LocalqError, OfflineError
from localq.events import ignore
from localq.hub.backoff import RetryPolicy
from localq.hub.dataset_file import fetch_dataset_file
from tests.hub_server import Cut, HubServer, Refuse

CONTENT = bytes(range(256)) * 400


@pytest.fixture
def dataset(hub: HubServer, tmp_path: Path) -> HubServer:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a b.zip").write_bytes(CONTENT)
    hub.add_repo("org/texts", folder)
    return hub


def fetch(path: str = "a b.zip", most: int = 1 << 20, retries: int = 2) -> bytes:
    policy = RetryPolicy(retries=retries, first_delay=0)
    return fetch_dataset_file(
        "org/texts", path, most, emit=ignore, cancel=threading.Event(), policy=policy
    )


def test_it_comes_whole_also_after_interruptions(dataset: HubServer) -> None:
    dataset.faults.append(Cut(".zip", after=1000))
    dataset.faults.append(Refuse(".zip", status=503))
    assert fetch() == CONTENT


def test_it_gives_up_after_some_tries(dataset: HubServer) -> None:
    dataset.faults.append(Refuse(".zip", times=9, status=503))
    with pytest.raises(HubError, match="tried 2 times"):
        fetch(retries=1)


def test_no_more_than_expected_is_taken(dataset: HubServer) -> None:
    with pytest.raises(HubError, match="longer than it should be"):
        fetch(most=1000)


def test_what_is_not_there_is_said(dataset: HubServer) -> None:
    with pytest.raises(LocalqError, match="none"):
        fetch("none.zip")


def test_offline_nothing_is_asked(dataset: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OfflineError):
        fetch()


def test_a_cancel_is_heard(dataset: HubServer) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        fetch_dataset_file("org/texts", "a b.zip", 1 << 20, emit=ignore, cancel=cancel)
