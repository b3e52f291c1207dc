"""Making the app's screens, each imported when it is first opened, or shortly before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from textual.css.stylesheet import Stylesheet
from textual.screen import Screen

from localq.tui.context import AppContext

__all__ = ["import_screens", "made", "read_style_sheets", "size_classes"]

_CLASSES = {
    "library": "LibraryScreen",
    "hub": "HubScreen",
    "jobs": "JobsScreen",
    "machine": "MachineScreen",
    "settings": "SettingsScreen",
}


def made(name: str, context: AppContext, classes: Iterable[str], css_updates: int) -> Screen[Any]:
    """The screen of this name, which has `classes`; `css_updates` is how often the app's colours
    have changed so far."""
    screen: Screen[Any] = getattr(_module(name), _CLASSES[name])(context)
    screen.add_class(*classes, update=False)  # else it is laid out twice
    # What is made now is in today's colours: else all style sheets are parsed again.
    screen._css_update_count = css_updates
    return screen


def size_classes(
    *breakpoints: tuple[int, Sequence[tuple[int, str]]],
) -> list[str]:
    """Of the cells in each direction, the class that Textual gives a screen there."""
    return [
        [name for least, name in classes if least <= cells][-1] for cells, classes in breakpoints
    ]


def import_screens() -> None:
    """Those that were not opened yet; slow, for a thread."""
    for name in _CLASSES:
        _module(name)


def read_style_sheets(stylesheet: Stylesheet) -> None:
    """Those that were not needed yet; a screen whose own is read is styled once."""
    sheets = sorted(Path(__file__).parent.glob("*.tcss"))
    stylesheet.read_all([s for s in sheets if not stylesheet.has_source(str(s), "")])


def _module(name: str) -> ModuleType:
    return import_module(f"localq.tui.screens.{name}")
