"""How a conversation is answered: preset, system prompt, sampling, and what is left out when the
context is full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.types import CSSPathType
from textual.widgets import Input, Select, Static, TextArea

from localq.errors import LocalqError, UsageError
from localq.messages import Message, msg, translate
from localq.sessions import OnFull, Preset
from localq.tui.calls import CallListener
from localq.tui.context import AppContext
from localq.tui.text import tr
from localq.tui.widgets.key_bar import KeyBar
from localq.tui.widgets.notice import Notice

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ChatSettingsDialog"]

_WHEN_FULL = (
    (OnFull.STOP, msg("send nothing, and say so")),
    (OnFull.SLIDE, msg("leave out the oldest messages")),
    (OnFull.SUMMARISE, msg("have the oldest summarised")),
)
_VALUES: Mapping[str, tuple[Message, type[int] | type[float]]] = {
    "temperature": (msg("temperature"), float),
    "top_k": (msg("top k"), int),
    "top_p": (msg("top p"), float),
    "min_p": (msg("min p"), float),
    "repeat_penalty": (msg("repeat penalty"), float),
    "presence_penalty": (msg("presence penalty"), float),
    "max_tokens": (msg("longest reply"), int),
    "seed": (msg("seed"), int),
}


class ChatSettingsDialog(CallListener, ModalScreen[Preset]):
    """Dismissed with the preset to use from now on, None where nothing changes."""

    CSS_PATH: ClassVar[CSSPathType | None] = ["dialog.tcss", "chat_settings.tcss"]
    AUTO_FOCUS = "Select"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "use", msg("Use"), key_display="^s"),
        Binding("escape", "leave", msg("Close")),
    ]

    def __init__(self, context: AppContext, preset: Preset) -> None:
        super().__init__()
        self.context = context
        self._preset = preset
        self._presets: Sequence[Preset] = (preset,)

    def compose(self) -> ComposeResult:
        preset = self._preset
        with VerticalScroll(classes="dialog", can_focus=False) as dialog:
            dialog.border_title = tr("How it answers")
            with Horizontal(classes="row"):
                yield Static(tr("Preset"))
                named = [(preset.name, preset.name)]
                yield Select(named, value=preset.name, allow_blank=False, compact=True, id="preset")
            with Horizontal(classes="row"):
                yield Static(tr("System prompt"))
                yield TextArea(preset.system, soft_wrap=True, tab_behavior="focus", id="system")
            with Container(id="values"):
                for name, (label, kind) in _VALUES.items():
                    yield Static(translate(label))
                    value = preset.sampling.get(name)
                    yield Input(
                        "" if value is None else f"{value}",
                        placeholder=tr("default"),
                        type="integer" if kind is int else "number",
                        id=f"value-{name}",
                    )
            with Horizontal(classes="row"):
                yield Static(tr("Context full"))
                choices = [(translate(text), way.value) for way, text in _WHEN_FULL]
                full = preset.on_full.value
                yield Select(choices, value=full, allow_blank=False, compact=True, id="on-full")
            with Horizontal(classes="row"):
                yield Static(tr("Keep as preset"))
                yield Input(placeholder=tr("a name, for other sessions too"), id="keep-as")
            yield Notice()
        yield KeyBar()

    def on_mount(self) -> None:
        presets = self.context.services.chat.presets
        self.context.calls.start(
            self, lambda say, cancel: presets(), done=self._offer, failed=self._refuse
        )

    def _offer(self, presets: Sequence[Preset]) -> None:
        self._presets = presets
        names = [preset.name for preset in presets]
        if self._preset.name not in names:
            names.append(self._preset.name)
        select = self.query_one("#preset", Select)
        with select.prevent(Select.Changed):
            select.set_options([(name, name) for name in names])
            select.value = self._preset.name

    @on(Select.Changed, "#preset")
    def _chosen(self, event: Select.Changed) -> None:
        """What the preset says takes the place of what is in the fields."""
        preset = next((one for one in self._presets if one.name == event.value), None)
        if preset is None or event.value == self._preset.name:
            return
        self._preset = preset
        self.query_one("#system", TextArea).text = preset.system
        for name in _VALUES:
            value = preset.sampling.get(name)
            self._field(name).value = "" if value is None else f"{value}"
        self.query_one("#on-full", Select).value = preset.on_full.value

    def _field(self, name: str) -> Input:
        return self.query_one(f"#value-{name}", Input)

    @on(Input.Submitted)
    def action_use(self) -> None:
        try:
            preset = self._given()
        except UsageError as error:
            self._refuse(error)
            return
        keep, name = self.context.services.chat, self.query_one("#keep-as", Input).value.strip()
        if name:
            preset = replace(preset, name=name)

        def check() -> Preset:
            from localq.services.chat.presets import checked_preset

            checked_preset(preset)
            if name:
                keep.keep_preset(preset)
            return preset

        self.context.calls.start(
            self, lambda say, cancel: check(), done=self.dismiss, failed=self._refuse
        )

    def _given(self) -> Preset:
        """What the fields say. UsageError."""
        sampling = {
            name: value for name, value in self._preset.sampling.items() if name not in _VALUES
        }
        for name, (label, kind) in _VALUES.items():
            text = self._field(name).value.strip()
            if not text:
                continue
            try:
                sampling[name] = kind(text)
            except ValueError:
                raise UsageError(
                    msg("{name}: {text!r} is no number", name=label, text=text)
                ) from None
        return replace(
            self._preset,
            system=self.query_one("#system", TextArea).text.strip(),
            sampling=sampling,
            on_full=OnFull(str(self.query_one("#on-full", Select).value)),
        )

    def _refuse(self, error: LocalqError) -> None:
        self.query_one(Notice).show_error(error)

    def action_leave(self) -> None:
        self.dismiss(None)
