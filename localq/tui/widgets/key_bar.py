"""The keys at the bottom: those that do something now, as many as fit.

Textual's Footer makes a widget of each key and all of them anew whenever one changes; this is one
line of text.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual import events
from textual.screen import Screen
from textual.widget import Widget

from localq.messages import translate

__all__ = ["KeyBar"]

_META = "key"
"""Under this name a piece of the line says which key it stands for."""


_GENERAL = {"app.help": 1, "quit": 2}


class _Key(NamedTuple):
    key: str
    shown: str
    action: str
    enabled: bool


class KeyBar(Widget, can_focus=False):
    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"key-bar--key", "key-bar--action"}
    DEFAULT_CSS = """
    KeyBar {
        dock: bottom;
        height: 1;
        padding: 0 1;
        background: $footer-background;
        .key-bar--key { color: $footer-key-foreground; text-style: bold; }
        .key-bar--action { color: $footer-description-foreground; }
    }
    """

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def render(self) -> Text:
        keys = self._keys()
        width = self.content_size.width
        gap = 2 if _width(keys, 2) <= width else 1
        while len(keys) > 1 and _width(keys, gap) > width:
            del keys[-2]  # the last one ends the program or the dialog, and stays
        key_style = self.get_component_rich_style("key-bar--key")
        action_style = self.get_component_rich_style("key-bar--action")
        text = Text(no_wrap=True, end="")
        for key in keys:
            press = Style.from_meta({_META: key.key})
            dim = Style(dim=not key.enabled)
            text.append(" " * gap if text else "")
            text.append(key.shown, key_style + press + dim)
            text.append(f" {key.action}", action_style + press + dim)
        return text

    def on_click(self, event: events.Click) -> None:
        """A click on a key is a press of it."""
        if key := event.style.meta.get(_META):
            self.app.simulate_key(key)

    def _changed(self, screen: Screen[object]) -> None:
        self.refresh()

    def _keys(self) -> list[_Key]:
        """Each action once, by the first of its keys."""
        keys: dict[str, _Key] = {}
        for _, binding, enabled, _ in self.screen.active_bindings.values():
            if binding.show:
                shown = self.app.get_key_display(binding)
                keys.setdefault(
                    binding.action,
                    _Key(binding.key, shown, translate(binding.description), enabled),
                )
        # What every screen has stands at the end, where the eye finds it.
        return [keys[action] for action in sorted(keys, key=lambda name: _GENERAL.get(name, 0))]


def _width(keys: list[_Key], gap: int) -> int:
    words = sum(cell_len(key.shown) + 1 + cell_len(key.action) for key in keys)
    return words + gap * (len(keys) - 1)
