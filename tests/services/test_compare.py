"""Models side by side, with what was measured of them."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path

import pytest

from localq.cli.main import main
from localq.cli.scatter import Point, scatter
from localq.database import Database
from localq.errors import NotFoundError, UsageError
from localq.events import ignore
from localq.formats.types import QuantType
from localq.library import Library
from localq.paths import Paths
from localq.quality.cards import QualityCard, QualityCards
from localq.quality.results import Estimate, EvaluatedText
from localq.services.quality.compare import CompareRequest, compare
from localq.services.quality.evaluate import EvaluateRequest, evaluate
from tests.engine.test_engine import DEMO, make_gguf
from tests.services.test_evaluate import REFERENCE, one_thread


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for type_ in (QuantType.F16, QuantType.Q4_0):
        make_gguf(DEMO, folder, type_).rename(folder / f"{type_.name}.gguf")
    (folder / "text.txt").write_text(REFERENCE["text"], encoding="utf-8")
    return folder


def card(path: Path, text: str = "a", base: str | None = None, when: float = 1.0) -> QualityCard:
    kld = Estimate(0.1, 0.01) if base else None
    known = EvaluatedText("text.txt", text * 64, 9)
    return QualityCard(
        path.name, path, "Q4_0", 5, known, 64, 2, 62, True, Estimate(3.5, 0.1), base, kld, kld,
        kld, "engine", "machine", when,
    )  # fmt: skip


def test_cards_are_kept_and_latest_comes_first(home: Paths, tmp_path: Path) -> None:
    cards = QualityCards(Database(home.database))
    assert cards.of(tmp_path / "m.gguf") == ()
    assert cards.latest() == {}
    file = tmp_path / "m.gguf"
    file.write_bytes(b"model")
    older, newer = card(file, "a", "base", 1), card(file, "b", None, 2)
    cards.keep([older, newer])
    assert cards.of(file) == (newer, older)
    assert cards.latest() == {file: older}, "the one that compares says more"
    again = card(file, "b", None, 3)
    cards.keep([again])
    assert cards.of(file) == (again, older)
    cards.keep([card(tmp_path / "gone.gguf")])
    assert set(cards.latest()) == {file}


def test_a_file_that_changed_has_no_cards(home: Paths, tmp_path: Path) -> None:
    cards = QualityCards(Database(home.database))
    file = tmp_path / "m.gguf"
    file.write_bytes(b"model")
    cards.keep([card(file)])
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert cards.of(file) == ()
    assert cards.latest() == {}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are Unicode")
def test_names_of_files_may_be_any_bytes(home: Paths, tmp_path: Path) -> None:
    cards = QualityCards(Database(home.database))
    file = tmp_path / os.fsdecode(b"caf\xe9.gguf")
    file.write_bytes(b"model")
    cards.keep([card(file, base="base")])
    (found,) = cards.of(file)
    assert (found.path, found.model) == (file, "caf\\udce9.gguf")
    assert cards.latest() == {file: found}


class Checked(HTMLParser):
    """Sees whether every element is closed, and nothing is fetched from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "line"):
            self.open.append(tag)
        assert not {"src", "href"} & {name for name, _ in attrs}

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not {"src", "href"} & {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_what_is_missing_is_measured_once(
    home: Paths, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [str(models / "F16.gguf"), str(models / "Q4_0.gguf")]
    request = CompareRequest(tuple(names), models / "text.txt", n_ctx=64)
    library, cancel = Library(home), threading.Event()
    unknown = compare(
        library, CompareRequest(tuple(names), measured=True), ignore, cancel, profile=one_thread()
    )
    assert [(m.card, m.generate_speed) for m in unknown.models] == [(None, None)] * 2
    found = compare(library, request, ignore, cancel, profile=one_thread())
    assert found.base == "F16.gguf"
    base, quant = found.models
    assert base.card
    assert base.change is None
    assert quant.card
    assert quant.card.kld
    assert quant.change is not None
    assert quant.generate_speed
    assert quant.generate_speed > 0
    assert (base.memory_bytes or 0) > (quant.memory_bytes or 0) > quant.size_bytes
    seen: list[object] = []
    again = compare(library, request, seen.append, cancel, profile=one_thread())
    assert (again, seen) == (found, [])

    report = tmp_path / "report.html"
    command = ["compare", *names, "--measured", "--html", str(report)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "the base" in printed
    assert re.search(r"● (F16|Q4_0)", printed)
    assert max(map(len, printed.splitlines())) <= 100
    checked = Checked()
    checked.feed(report.read_text(encoding="utf-8"))
    assert checked.open == []
    assert "<svg" in report.read_text(encoding="utf-8")
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"][1]["card"]["kld"]["value"] > 0


def test_cards_are_shown(home: Paths, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = Library(home)
    request = EvaluateRequest((str(models / "Q4_0.gguf"),), models / "text.txt", n_ctx=64)
    evaluate(library, request, ignore, threading.Event(), profile=one_thread())
    assert main(["show", str(models / "Q4_0.gguf")]) == 0
    assert re.search(r"quality +perplexity 3\.\d+ ± ", capsys.readouterr().out)
    assert main(["show", str(models / "Q4_0.gguf"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["quality"][0]["n_ctx"] == 64


def test_bad_requests_are_refused(home: Paths, models: Path) -> None:
    with pytest.raises(UsageError, match="name the models"):
        CompareRequest(())
    request = CompareRequest((str(models / "none.gguf"),))
    with pytest.raises(NotFoundError):
        compare(Library(home), request, ignore, threading.Event(), profile=one_thread())


def test_a_plot_keeps_within_its_width() -> None:
    points = [Point(f"TYPE_{n}", 10.0 * n, 9.0 - n) for n in range(8)]
    lines = scatter(points, width=40, height=6)
    assert len(lines) == 7
    assert all(len(line) <= 40 for line in lines)
    assert lines[0].lstrip().startswith("9 ")
    assert "".join(lines).count("●") == 8
    assert scatter([], width=40, height=6) == []
    assert "● one" in "".join(scatter([Point("one", 1, 1)], width=40, height=3))
