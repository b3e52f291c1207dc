"""What the screens look like, compared with pictures that someone has looked at.

After a change that is meant: LOCALQ_UPDATE_SNAPSHOTS=1 pytest tests/tui/test_tui_snapshots.py, then
look at the changed files of tests/tui/__snapshots__ in a browser before committing them.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from localq.formats.types import QuantType
from localq.jobs import JobProgress, JobState
from localq.services.pull.pull import Choice
from localq.settings import Settings, write_settings
from localq.tui.chat.status import ChatState
from localq.tui.screens.chat import ChatScreen
from tests.tui.test_tui_quantize import ladder
from tests.tui_support import (
    Fakes,
    asynchronous,
    checkpoint,
    generation,
    gguf,
    screen_text,
    svg_text,
    until,
)

_SNAPSHOTS = Path(__file__).parent / "__snapshots__" / "tui"
_DAY = 86400.0


@dataclass(frozen=True)
class Cell:
    """One place of the table of sizes, themes and languages."""

    size: tuple[int, int]
    theme: str
    language: str

    def name(self, what: str) -> str:
        return f"{what}-{self.theme.removeprefix('localq-')}-{self.language}"


CELLS = pytest.mark.parametrize(
    "cell",
    [
        pytest.param(
            Cell(size, theme, language),
            id=f"{size[0]}x{size[1]}-{theme}-{language}",
            marks=[] if number == 0 else pytest.mark.slow,
        )
        for number, (size, theme, language) in enumerate(
            product([(80, 24), (120, 40), (200, 60)], ["localq", "localq-light"], ["en", "zh_CN"])
        )
    ],
)

REPLY = """\
A **quant** keeps the weights of a model in fewer bits:

- `Q4_0` takes 4.5 bits for each
- `Q8_0` takes 8.5

```python
size = parameters * bits / 8
```

Fewer bits, smaller file,
a little less <precise>.
"""


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    listed = [
        checkpoint(),
        gguf(),
        gguf(quant=QuantType.Q8_0, size=144_800_000, used=4 * _DAY),
        checkpoint("Qwen/Qwen2.5-1.5B-Instruct", size=3_087_000_000, parameters=1_543_714_304),
        gguf(
            "Qwen/Qwen2.5-1.5B-Instruct",
            QuantType.Q4_K_M,
            size=986_000_000,
            parameters=1_543_714_304,
            used=300.0,
        ),
        gguf("demo/stories260K", QuantType.F32, size=1_100_000, parameters=260_032, used=9 * _DAY),
    ]
    return Fakes(tmp_path, listed)


async def matches_snapshot(pilot: Pilot[None], name: str) -> None:
    """Compare the terminal with tests/tui/__snapshots__/tui/NAME-WIDTHxHEIGHT.svg."""
    for field in (*pilot.app.screen.query(Input), *pilot.app.screen.query(TextArea)):
        field.cursor_blink = False
    await pilot.pause()
    width, height = pilot.app.size
    expected_file = _SNAPSHOTS / f"{name}-{width}x{height}.svg"
    # The picture's ids are made from its content and would differ everywhere for any change.
    actual = re.sub(r"terminal-\d+", "terminal", pilot.app.export_screenshot(simplify=True)) + "\n"
    if os.environ.get("LOCALQ_UPDATE_SNAPSHOTS"):
        expected_file.parent.mkdir(parents=True, exist_ok=True)
        expected_file.write_text(actual, encoding="utf-8", newline="\n")
        return
    expected = expected_file.read_text(encoding="utf-8")
    if actual != expected:
        shown = "\n".join(
            difflib.unified_diff(
                svg_text(expected).splitlines(),
                svg_text(actual).splitlines(),
                "expected",
                "actual",
                lineterm="",
            )
        )
        pytest.fail(f"{expected_file.name} differs:\n{shown or '(only in its colours)'}")


@CELLS
@asynchronous
async def test_screens(fakes: Fakes, cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALQ_LANG", cell.language)
    write_settings(fakes.paths, Settings(theme=cell.theme))
    fakes.rows = ladder()
    job = fakes.begin("pull Qwen/Qwen2.5-7B-Instruct")
    progress = JobProgress("fetching", 6_200_000_000, 15_200_000_000, speed=41_000_000.0)
    fakes.store.save(job, progress)
    failed = fakes.begin("quantize Qwen/Qwen2.5-1.5B-Instruct to Q4_0", "quantize")
    fakes.end(failed, JobState.FAILED, error="the disk is full", hint="free some space")
    async with fakes.running(cell.size) as pilot:
        await until(pilot, lambda: "8,192" in screen_text(pilot.app))
        await until(pilot, lambda: "41" in screen_text(pilot.app))
        await until(pilot, lambda: "✓ 1.0 GB" in screen_text(pilot.app))
        await matches_snapshot(pilot, cell.name("library"))
        await pilot.press("question_mark")
        await matches_snapshot(pilot, cell.name("help"))
        await pilot.press("escape", "q")
        await until(pilot, lambda: "Q8_0" in screen_text(pilot.app))
        await matches_snapshot(pilot, cell.name("quantize"))
        await pilot.press("escape", "3")
        await until(pilot, lambda: "Qwen2.5-7B" in screen_text(pilot.app))
        await until(pilot, lambda: "41.0 MB/s" in screen_text(pilot.app))
        await matches_snapshot(pilot, cell.name("jobs"))


@CELLS
@asynchronous
async def test_welcome(tmp_path: Path, cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALQ_LANG", cell.language)
    offered = [
        Choice("HuggingFaceTB/SmolLM2-1.7B", 1_711_376_384, 3_422_000_000, "fits in 7 GB", True)
    ]
    fakes = Fakes(tmp_path, offered=offered)
    write_settings(fakes.paths, Settings(theme=cell.theme))
    async with fakes.running(cell.size) as pilot:
        await until(pilot, lambda: "SmolLM2" in screen_text(pilot.app))
        await matches_snapshot(pilot, cell.name("welcome"))


@CELLS
@asynchronous
async def test_chat(fakes: Fakes, cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALQ_LANG", cell.language)
    write_settings(fakes.paths, Settings(theme=cell.theme))
    async with fakes.running(cell.size) as pilot:
        fakes.openings.finish(True)
        await pilot.press("enter")
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        await until(pilot, lambda: screen.status.state is ChatState.IDLE)
        screen.query_one(TextArea).text = "What is a quant?"
        await pilot.press("enter")
        fakes.replies.emit(REPLY)
        fakes.replies.finish(generation(REPLY))
        await until(pilot, lambda: screen.status.state is ChatState.IDLE)
        screen.query_one(TextArea).text = "Which one should I take?\nBriefly."
        await pilot.press("enter")
        fakes.replies.emit("Q4_K_M, unless you have")
        await until(pilot, lambda: "unless you have▍" in screen_text(pilot.app))
        await matches_snapshot(pilot, cell.name("chat"))
