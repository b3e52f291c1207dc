"""`localq search`, against a Hub on the loopback interface."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localq.cli.main import main
from localq.errors import HubError, OfflineError, UsageError
from localq.events import ignore
from localq.hub.search import size_class
from localq.paths import Paths
from localq.services.pull.search import FoundModel, SearchOrder, SearchRequest, search
from tests.hub_server import HubServer, Refuse, closed_port_url, only_this_hub


@pytest.fixture
def hub(home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "config.json").write_text("{}")
    (tmp_path / "gguf").mkdir()
    (tmp_path / "gguf" / "x-Q4_0.gguf").write_bytes(b"")
    with HubServer() as server, only_this_hub(monkeypatch, server.url, tmp_path / "hf"):
        for name, kind, facts in (
            ("org/tiny-1.2B", "plain", {"downloads": 1500, "likes": 3, "gated": "auto"}),
            ("org/tiny-GGUF", "gguf", {"downloads": 20, "likes": 9, "gguf": {"total": 1235814400}}),
            ("org/other", "plain", {"downloads": 7, "lastModified": "2026-02-03T00:00:00.000Z"}),
            ("org/tiny-new", "plain", {"lastModified": "2026-03-04T05:06:07.000Z"}),
        ):
            server.add_repo(name, tmp_path / kind).facts = facts
        yield server


def found(words: str, **options: Any) -> list[str]:
    return [model.repo for model in models(words, **options)]


def models(words: str, **options: Any) -> tuple[FoundModel, ...]:
    return search(SearchRequest(words, **options), ignore, threading.Event()).models


def test_finds_by_words_in_the_order_asked_for(hub: HubServer) -> None:
    assert found("tiny") == ["org/tiny-1.2B", "org/tiny-GGUF", "org/tiny-new"]
    assert found("ORG gguf") == ["org/tiny-GGUF"]
    assert found("tiny", order=SearchOrder.LIKES)[0] == "org/tiny-GGUF"
    assert found("tiny", order=SearchOrder.RECENT)[0] == "org/tiny-new"
    assert found("tiny", gguf=True) == ["org/tiny-GGUF"]
    assert found("nothing") == []
    assert all("Authorization" not in request.headers for request in hub.requests)


def test_pages_are_followed_up_to_the_limit(hub: HubServer) -> None:
    hub.page_size = 1
    assert len(found("org", limit=3)) == 3
    assert len(hub.requests) == 3
    assert len(found("org")) == 4


def test_what_is_said_of_a_model(hub: HubServer) -> None:
    card = {"license": "other", "license_name": "llama3.2"}
    hub.repos["org/tiny-1.2B"].facts |= {"cardData": card}
    hub.repos["org/tiny-GGUF"].facts |= {"tags": ["gguf", "license:mit"]}
    first, second, third = models("tiny")
    assert first == FoundModel(
        repo="org/tiny-1.2B",
        parameters=None,
        size_class="1.2B",
        licence="llama3.2",
        downloads=1500,
        likes=3,
        gated=True,
        updated="2026-01-02",
        gguf=False,
    )
    assert (second.parameters, second.size_class, second.licence) == (1235814400, "1.2B", "mit")
    assert (second.gguf, second.gated) == (True, False)
    assert (third.size_class, third.licence, third.updated) == ("", "", "2026-03-04")


@pytest.mark.parametrize(
    ("parameters", "name", "expected"),
    [
        (134_515_008, "org/x", "135M"),
        (999_700_000, "org/x", "1B"),
        (405_000_000_000, "org/x", "405B"),
        (260_032, "org/x", "260K"),
        (None, "org/Mixtral-8x7B-v0.1", "8x7B"),
        (None, "org/Qwen2.5-0.5b-instruct", "0.5B"),
        (None, "org/pythia-70m", "70M"),
        (None, "7B-org/name", ""),
        (None, "org/bert-4bit", ""),
        (None, "org/v2Beta", ""),
    ],
)
def test_the_size_class(parameters: int | None, name: str, expected: str) -> None:
    assert size_class(parameters, name) == expected


@pytest.mark.parametrize(
    "entry",
    [
        7,
        {},
        {"id": 5},
        {"id": "../x"},
        {"id": "org/na\x1bme"},
        {"id": "onename"},
    ],
)
def test_what_is_no_model_is_passed_over(hub: HubServer, entry: object) -> None:
    body = json.dumps([entry, {"id": "org/good"}]).encode()
    hub.faults.append(Refuse("/api/models", status=200, body=body))
    assert found("x") == ["org/good"]


def test_hostile_texts_become_plain(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    hub.repos["org/tiny-new"].facts |= {
        "cardData": {"license": "\x1b[2J\u202emit" + "x" * 10_000},
        "lastModified": "\x1b[31m2026",
        "downloads": -5,
        "likes": 1 << 80,
        "safetensors": [1],
        "tags": {"a": 1},
    }
    assert main(["search", "tiny-new"]) == 0
    told = capsys.readouterr().out
    assert "org/tiny-new" in told
    assert "\x1b" not in told
    assert "\u202e" not in told
    assert len(told) < 1000


def test_the_table_and_the_document(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "tiny", "--limit", "2"]) == 0
    told = capsys.readouterr()
    heading, *rows = told.out.splitlines()
    assert heading.split() == [
        "NAME",
        "PARAMETERS",
        "LICENCE",
        "DOWNLOADS",
        "LIKES",
        "UPDATED",
        "ACCESS",
    ]
    assert rows[0].split() == ["org/tiny-1.2B", "1.2B", "1.5K", "3", "2026-01-02", "gated"]
    assert len(rows) == 2
    assert told.err == "get one with: localq pull org/tiny-1.2B\n"
    assert main(["search", "tiny", "--gguf", "--sort", "likes", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [model["repo"] for model in document["models"]] == ["org/tiny-GGUF"]
    assert main(["search", "nothing"]) == 0
    assert "nothing found" in capsys.readouterr().err
    assert main(["search"]) == 2


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_limit_that_makes_no_sense(hub: HubServer, limit: int) -> None:
    with pytest.raises(UsageError):
        found("x", limit=limit)
    assert hub.requests == []


def test_no_network_no_hub_and_a_busy_one(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.faults.append(Refuse("/api/models", status=429, headers={"Retry-After": "0"}))
    assert found("other") == ["org/other"]
    hub.faults.append(Refuse("/api/models", status=200, body=b'{"error": "no"}'))
    with pytest.raises(HubError, match="does not answer as a Hub does"):
        found("other")
    hub.faults.append(Refuse("/api/models", status=404))
    with pytest.raises(HubError, match="answers 404"):
        found("other")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["search", "other"]) == 1
    assert "HF_HUB_OFFLINE is set" in capsys.readouterr().err
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", closed_port_url())
    with pytest.raises(OfflineError):
        found("other")
