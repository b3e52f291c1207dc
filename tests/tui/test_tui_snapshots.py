"""What the screens look like, compared with pictures that someone has looked at.

After a change that is meant: LOCALQ_UPDATE_SNAPSHOTS=1 pytest tests/tui/test_tui_snapshots.py, then
look at the changed files of tests/tui/__snapshots__ in a browser before committing them.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Markdown, ProgressBar, TextArea

from localq.events import Note, Progress
from localq.formats.types import QuantType
from localq.services.pull.pull import Choice
from localq.tui.chat_status import ChatState
from localq.tui.screens.chat import ChatScreen
from tests.tui_support import (
    Fakes,
    StoppedClock,
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

SIZES = pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])

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
    return Fakes(tmp_path / "tui.log", listed)


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


@SIZES
@asynchronous
async def test_library(fakes: Fakes, size: tuple[int, int]) -> None:
    async with fakes.running(size) as pilot:
        await until(pilot, lambda: "8,192 tokens" in screen_text(pilot.app))
        await matches_snapshot(pilot, "library")


@SIZES
@asynchronous
async def test_empty_library(tmp_path: Path, size: tuple[int, int]) -> None:
    offered = [
        Choice("HuggingFaceTB/SmolLM2-1.7B", 1_711_376_384, 3_422_000_000, "fits in 7 GB", True)
    ]
    async with Fakes(tmp_path / "tui.log", offered=offered).running(size) as pilot:
        await until(pilot, lambda: "SmolLM2" in screen_text(pilot.app))
        await matches_snapshot(pilot, "empty")


@SIZES
@asynchronous
async def test_quantizing(fakes: Fakes, size: tuple[int, int]) -> None:
    clock = StoppedClock()
    async with fakes.running(size, clock=clock) as pilot:
        await until(pilot, lambda: "8,192 tokens" in screen_text(pilot.app))
        await pilot.press("q")
        await matches_snapshot(pilot, "types")
        await pilot.press("down", "enter")
        bar = pilot.app.screen.query_one(ProgressBar)
        fakes.quantizations.emit(Progress("quantizing", 0, 1_100_000_000))
        await until(pilot, lambda: bar.total == 1_100_000_000)
        clock.seconds = 3.0
        fakes.quantizations.emit(
            Progress("quantizing", 418_000_000, 1_100_000_000),
            Note("output.weight stays Q6_K", warning=True),
        )
        await until(pilot, lambda: bar.progress == 418_000_000)
        await matches_snapshot(pilot, "quantizing")


@SIZES
@asynchronous
async def test_chat(fakes: Fakes, size: tuple[int, int]) -> None:
    async with fakes.running(size) as pilot:
        fakes.openings.finish(True)
        await pilot.press("enter")
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        await until(pilot, lambda: screen.status.state is ChatState.IDLE)
        screen.query_one(TextArea).text = "What is a quant?"
        await pilot.press("enter")
        fakes.replies.emit(REPLY)
        fakes.replies.finish(generation(REPLY))
        await until(pilot, lambda: bool(screen.query(Markdown)))
        screen.query_one(TextArea).text = "Which one should I take?\nBriefly."
        await pilot.press("enter")
        fakes.replies.emit("Q4_K_M, unless you have")
        await until(pilot, lambda: "unless you have▍" in screen_text(pilot.app))
        await matches_snapshot(pilot, "chat")
