"""The pictures of the README, made with the real app: python packaging/screenshots.py [--check]

From an empty home the app gets the demo, quantizes it, chats with it and looks at the machine, as a
user would, and what is on its terminal then goes to docs/screenshots. With --check it does all that
and writes nothing: it fails where the app does, or where the README shows no such picture.
"""

from __future__ import annotations

import argparse
import asyncio
import html
import os
import re
import sys
import tempfile
import time
from pathlib import Path

from textual.pilot import Pilot

from localq.library import Library
from localq.paths import Paths
from localq.tui.app import LocalqApp
from localq.tui.services import services_of

_ROOT = Path(__file__).resolve().parent.parent
_FOLDER = _ROOT / "docs" / "screenshots"
_SIZE = (110, 30)
_PATIENCE = 120.0
_TEXT = re.compile(r"<text[^>]*>(.*?)</text>")


class Camera:
    """Waits for what is to be seen, and takes pictures of it."""

    def __init__(self, pilot: Pilot[None]) -> None:
        self._pilot = pilot
        self.pictures: dict[str, str] = {}

    async def press(self, *keys: str) -> None:
        await self._pilot.press(*keys)

    async def until(self, *words: str) -> None:
        """Wait for the words to be on the terminal."""
        deadline = time.monotonic() + _PATIENCE
        while missing := [word for word in words if word not in self._shown()]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not on the terminal: {missing}\n{self._shown()}")
            await asyncio.sleep(0.05)  # another process works: there is no event to wait for
        await self._pilot.pause()

    async def take(self, name: str) -> None:
        await self._pilot.pause()
        picture = self._pilot.app.export_screenshot(simplify=True)
        # The picture's ids are made from its content and would differ everywhere for any change.
        self.pictures[name] = re.sub(r"terminal-\d+", "terminal", picture) + "\n"

    def _shown(self) -> str:
        pieces = _TEXT.findall(self._pilot.app.export_screenshot(simplify=True))
        return html.unescape("\n".join(pieces)).replace("\xa0", " ")


async def pictures(home: Path) -> dict[str, str]:
    """The pictures by their names, as SVG."""
    services = services_of(Library(Paths.from_environment({"LOCALQ_HOME": str(home)})))
    app = LocalqApp(services)
    app.animation_level = "none"
    async with app.run_test(size=_SIZE) as pilot:
        camera = Camera(pilot)
        await camera.until("The demo")
        await camera.take("welcome")
        await camera.press("end", "enter")
        await camera.until("demo/stories260K:Q8_0 is ready.")
        await camera.press("q")
        await camera.until("Q4_0")
        await camera.take("quantize")
        await camera.press("escape", "1", "enter")
        await camera.until("ready ")
        await camera.press(*"Once", "space", *"upon", "space", *"a", "space", *"time", "enter")
        await camera.until(" tok/s")
        await camera.press("ctrl+c")
        await camera.take("chat")
        await camera.press("escape", "1")
        await camera.until("2 models")
        await camera.take("library")
        await camera.press("3")
        await camera.until("✓ finished")
        await camera.take("jobs")
        await camera.press("4")
        await camera.until("processor", "It fits.", "Layers")
        await camera.take("machine")
    app.end(5.0)
    return camera.pictures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"LOCALQ_HOME": folder, "LOCALQ_LANG": "en", "HF_HUB_OFFLINE": "1"}
        found = asyncio.run(pictures(Path(folder)))
    if not options.check:
        _FOLDER.mkdir(parents=True, exist_ok=True)
        for name, picture in found.items():
            (_FOLDER / f"{name}.svg").write_text(picture, encoding="utf-8")
    shown = set(
        re.findall(r"docs/screenshots/(\w+)\.svg", (_ROOT / "README.md").read_text("utf-8"))
    )
    there = {path.stem for path in _FOLDER.glob("*.svg")}
    if amiss := (shown - there) | (shown - found.keys()):
        print(f"the README shows pictures that are not made: {sorted(amiss)}", file=sys.stderr)
        return 1
    print(f"{len(found)} pictures" + ("" if options.check else f" in {_FOLDER}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
