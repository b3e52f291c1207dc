"""Settings: language and theme, and where things are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.types import CSSPathType
from textual.widgets import Static

from localq.display import printable
from localq.errors import LocalqError
from localq.messages import language, msg
from localq.settings import Settings, write_settings
from localq.tui.screens.base import AppScreen
from localq.tui.text import elide, tr
from localq.tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from localq.tui.services.hub import HubAccess

__all__ = ["SettingsScreen"]

_LANGUAGES = {"en": "English", "zh_CN": "简体中文"}


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    label: str
    value: str
    changes: bool = False


class _Lines(Table[_Line]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "select", msg("Change"), key_display="↵"),
    ]


class SettingsScreen(AppScreen):
    NAME = "settings"
    CSS_PATH: ClassVar[CSSPathType | None] = "settings.tcss"
    AUTO_FOCUS = "Table"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy", msg("Copy")),
    ]

    _access: HubAccess | None = None

    def compose_body(self) -> ComposeResult:
        with Vertical(id="list") as box:
            box.border_title = tr("Settings")
            yield _Lines(
                (
                    Column(msg("Setting"), lambda line, w: Text(elide(line.label, w)), width=18),
                    Column(msg("Value"), _value, least=20),
                ),
                lambda line: line.name,
            )
            yield Static(
                tr(
                    "Folders and the Hub are what the environment says: LOCALQ_HOME, HF_ENDPOINT,"
                    " HF_TOKEN, HF_HUB_OFFLINE."
                ),
                id="hint",
                markup=False,
            )

    def on_mount(self) -> None:
        access = self.context.services.hub.access
        self.context.calls.start(
            self, lambda say, cancel: access(), done=self._known, failed=self._complain
        )

    def _known(self, access: HubAccess) -> None:
        self._access = access
        self._list()

    async def recompose(self) -> None:
        """In another language."""
        await super().recompose()
        self._list()
        self.query_one(_Lines).focus()

    def _list(self) -> None:
        self.query_one(_Lines).show(self._lines())

    def _lines(self) -> Sequence[_Line]:
        paths, access = self.context.services.paths, self._access
        lines = [
            _Line("language", tr("Language"), _LANGUAGES[language()], changes=True),
            _Line("theme", tr("Theme"), self.app.theme, changes=True),
            _Line("data", tr("Models and records"), str(paths.data)),
            _Line("config", tr("Settings"), str(paths.config)),
            _Line("cache", tr("Cache"), str(paths.cache)),
            _Line("log", tr("Logs"), str(paths.log)),
        ]
        if access is not None:
            state = tr("one is set") if access.has_token else tr("none")
            network = tr("not used") if access.offline else tr("used")
            lines += [
                _Line("endpoint", tr("Hub"), access.endpoint),
                _Line("token", tr("Token for the Hub"), state),
                _Line("network", tr("Network"), network),
            ]
        return lines

    @on(Table.Selected)
    def _selected(self) -> None:
        line = self.query_one(_Lines).current
        if line is None or not line.changes:
            return
        settings = self.shell.settings
        if line.name == "language":
            names = list(_LANGUAGES)
            following = names[(names.index(language()) + 1) % len(names)]
            self._save(replace(settings, language=following))
        else:
            themes = sorted(self.app.available_themes, key=lambda name: "localq" not in name)
            at = themes.index(self.app.theme) if self.app.theme in themes else -1
            self._save(replace(settings, theme=themes[(at + 1) % len(themes)]))

    def _save(self, settings: Settings) -> None:
        paths = self.context.services.paths
        self.context.calls.start(
            self,
            lambda say, cancel: write_settings(paths, settings),
            done=lambda _: self.run_worker(self._use(settings)),
            failed=self._complain,
        )

    async def _use(self, settings: Settings) -> None:
        await self.shell.use(settings)
        self._list()

    def action_copy(self) -> None:
        if (line := self.query_one(_Lines).current) is not None:
            self.app.copy_to_clipboard(line.value)
            self.notify(tr("Copied: {text}", text=printable(line.value)), markup=False)

    def _complain(self, error: LocalqError) -> None:
        self.shell.complain(error)


def _value(line: _Line, cells: int) -> Text:
    value = elide(printable(line.value), cells - 2)
    return Text(f"{value} ▾" if line.changes else value, "" if line.changes else "dim")
