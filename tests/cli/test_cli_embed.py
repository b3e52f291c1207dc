"""`localq embed` and `localq rerank`."""

from __future__ import annotations

import io
import json
import re
import sys
from math import hypot
from pathlib import Path

import pytest

from localq.cli.main import main
from localq.paths import Paths
from tests.engine.test_engine import DEMO, make_gguf

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_gguf(DEMO, tmp_path_factory.mktemp("story")))


def test_vectors_as_lines_and_as_json(
    home: Paths, gguf: str, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "texts"
    file.write_bytes("\ufeffa dog\r\nköln\n".encode())
    assert main(["embed", gguf, "a cat", "--file", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    vectors = [[float(number) for number in line.split()] for line in lines]
    assert all(len(one) == 64 and hypot(*one) == pytest.approx(1) for one in vectors)

    options = ["--json", "--pooling", "none", "--dimensions", "2"]
    assert main(["embed", gguf, "a dog", *options]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["model"] == gguf
    assert (document["pooling"], document["dimensions"]) == ("none", 2)
    (one,) = document["embeddings"]
    assert len(one["embedding"]) == one["tokens"] > 1
    assert all(len(row) == 2 for row in one["embedding"])


def test_a_terminal_shows_how_alike_they_are(
    home: Paths, gguf: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main(["embed", gguf, "a dog", "a cat", "a dog"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "3 texts, 64 numbers each, pooling mean"
    assert len(shown) == 5
    assert shown[2].split().count("1.00") == 2
    assert max(map(len, shown)) <= 80


def test_texts_from_stdin(
    home: Paths, gguf: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\ntwo\n\n")))
    assert main(["embed", gguf]) == 0  # the last line is an empty text: BOS alone
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["embed", "{gguf}"], "there is no text to embed"),
        (["embed", "{gguf}", "--file", "{folder}/none"], "none: cannot be read"),
        (["embed", "{gguf}", "--file", "{folder}/latin"], "latin: line 2 is not UTF-8"),
        (["embed", "{gguf}", "x " * 600, "--ctx", "512"], "text 1 is .* at most 512"),
        (["embed", "{gguf}", "x", "--dimensions", "65"], "have 64 numbers, not 65"),
        (["rerank", "{gguf}", "query", "document"], "no scores"),
        (["rerank", "{gguf}", "query"], "there is no document to rank"),
    ],
)
def test_what_goes_wrong(
    home: Paths,
    gguf: str,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    problem: str,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    (tmp_path / "latin").write_bytes(b"fine\nk\xf6ln\n")
    arguments = [one.format(gguf=gguf, folder=tmp_path) for one in arguments]
    assert main(arguments) in (1, 2)
    said = capsys.readouterr()
    assert said.out == ""
    (error,) = [line for line in said.err.splitlines() if line.startswith("error:")]
    assert re.search(problem, error)


def test_documents_come_best_first(
    home: Paths, gguf: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = {"bad": -3.0, "good": 2.5, "none": float("nan")}
    monkeypatch.setattr(
        "localq.engine.client.Engine.rank",
        lambda self, query, documents, **_: tuple(scores[one] for one in documents),
    )
    assert main(["rerank", gguf, "?", "none", "bad", "good", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [one["document"] for one in document["results"]] == ["good", "bad", "none"]
    assert [one["index"] for one in document["results"]] == [2, 1, 0]
    assert main(["rerank", gguf, "?", "bad", "good", "--top", "1"]) == 0
    assert capsys.readouterr().out.split() == ["score", "#", "document", "2.5000", "2", "good"]
