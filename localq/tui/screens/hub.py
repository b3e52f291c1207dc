"""The Hub: search it, see how a model's types would fit before anything is fetched, pull one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.timer import Timer
from textual.types import CSSPathType
from textual.widgets import Input, Static

from localq.display import byte_size, printable, short_count
from localq.errors import Cancelled, LocalqError
from localq.messages import msg
from localq.tui.context import AppContext
from localq.tui.screens.base import AppScreen
from localq.tui.text import elide, tr
from localq.tui.widgets.ladder import Ladder
from localq.tui.widgets.notice import Notice
from localq.tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from localq.services.fit.fit import FitResult
    from localq.services.pull.search import FoundModel
    from localq.tui.calls import ServiceCall

__all__ = ["HubScreen"]

_TYPING_SECONDS = 0.4
"""How long after the last letter the Hub is asked."""


class _Words(Input):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", msg("Search"), key_display="↵"),
        Binding("down", "screen.results", msg("Results"), show=False),
    ]


class _Results(Table["FoundModel"]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", msg("Open"), key_display="↵"),
    ]


class _Types(Ladder):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", msg("Pull"), key_display="↵"),
    ]


class HubScreen(AppScreen):
    NAME = "hub"
    CSS_PATH: ClassVar[CSSPathType | None] = "hub.tcss"
    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "words", msg("Search"), key_display="/"),
        Binding("w", "whole", msg("Pull it as it is")),
        Binding("escape", "back", msg("Back")),
    ]

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)
        self._typing: Timer | None = None
        self._asked = ""
        self._search: ServiceCall[tuple[FoundModel, ...]] | None = None
        self._opening: ServiceCall[FitResult] | None = None
        self._opened: str | None = None
        """The repository whose page is shown."""
        self._result: FitResult | None = None

    def compose_body(self) -> ComposeResult:
        with Container(id="columns"):
            with Vertical(id="list") as box:
                box.border_title = tr("Search the Hub")
                yield _Words(placeholder=tr("words of a name, or OWNER/NAME"), compact=True)
                yield Notice()
                yield _Results(_columns(), lambda found: found.repo)
                yield Static(
                    tr("Type a few words. ↵ on a model shows each type's size and fit."),
                    id="nothing",
                    markup=False,
                )
            with Vertical(id="detail") as page:
                page.border_title = tr("Repository")
                yield Static(id="about", markup=False)
                yield Notice()
                yield _Types(lambda row: None, lambda row: "")

    def on_mount(self) -> None:
        self.query_one(_Results).display = False
        self.query_one(Ladder).display = False

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        typing = isinstance(self.focused, Input)
        match action:
            case "words":
                return not typing
            case "whole":
                return self._opened is not None and not typing
        return True

    # --- searching ---

    @on(Input.Changed)
    def _typed(self) -> None:
        if self._typing is not None:
            self._typing.stop()
        self._typing = self.set_timer(_TYPING_SECONDS, self._ask)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        words = event.value.strip()
        if "/" in words and " " not in words:
            self._open(words)
            return
        self._ask()
        self.action_results()

    def _ask(self) -> None:
        if self._typing is not None:
            self._typing.stop()
        words = self.query_one(Input).value.strip()
        if len(words) < 2 or words == self._asked:
            return
        self._asked = words
        if self._search is not None:
            self._search.cancel.set()
        search = self.context.services.hub.search
        self.set_right(tr("searching…"))
        self._search = self.context.calls.start(
            self,
            lambda say, cancel: search(words, say, cancel),
            done=lambda found: self._found(words, found),
            failed=lambda error: self._not_found(words, error),
        )

    def _found(self, words: str, found: tuple[FoundModel, ...]) -> None:
        if words != self._asked:
            return
        self.query("#list Notice").first(Notice).hide()
        table = self.query_one(_Results)
        table.show(found)
        table.display = bool(found)
        nothing = self.query_one("#nothing", Static)
        nothing.display = not found
        nothing.update(tr("The Hub has nothing that is called “{words}”.", words=printable(words)))
        self.set_right(tr("{count} models", count=len(found)))

    def _not_found(self, words: str, error: LocalqError) -> None:
        if isinstance(error, Cancelled) or words != self._asked:
            return
        self._asked = ""
        self.set_right("")
        self.query("#list Notice").first(Notice).show_error(error)

    # --- a repository ---

    @on(Table.Selected)
    def _selected(self, message: Table.Selected) -> None:
        if isinstance(message.table, Ladder):
            self._take()
        elif (found := self.query_one(_Results).current) is not None:
            self._open(found.repo)

    def _open(self, repo: str) -> None:
        if self._opening is not None:
            self._opening.cancel.set()
        self._opened, self._result = repo, None
        self.add_class("-page")
        self.query_one("#detail", Vertical).border_title = Text(printable(repo)).markup
        self.query_one("#about", Static).update(tr("Reading the headers…"))
        self.query("#detail Notice").first(Notice).hide()
        self.query_one(Ladder).display = False
        fit = self.context.services.hub.fit
        self._opening = self.context.calls.start(
            self,
            lambda say, cancel: fit(repo, say, cancel),
            done=lambda result: self._show(repo, result),
            failed=lambda error: self._cannot(repo, error),
        )
        self.refresh_bindings()

    def _show(self, repo: str, result: FitResult) -> None:
        if repo != self._opened:
            return
        self._result = result
        self.query_one("#about", Static).update(_about(result))
        ladder = self.query_one(Ladder)
        ladder.display = True
        ladder.show(result.rows, result.recommended)
        ladder.focus()
        self.refresh_bindings()

    def _cannot(self, repo: str, error: LocalqError) -> None:
        """Gated, renamed away, nothing localq can read: it says so, and what to do."""
        if repo == self._opened and not isinstance(error, Cancelled):
            self.query_one("#about", Static).update("")
            self.query("#detail Notice").first(Notice).show_error(error)

    def _take(self) -> None:
        """Pull the type under the cursor: ready-made, or made as it comes."""
        row, result = self.query_one(Ladder).current, self._result
        if row is None or result is None:
            return
        repo, quant = result.model, row.quant
        if result.kind.value == "checkpoint":

            def make() -> object:
                from localq.formats.types import QuantType
                from localq.services.pull.stream import PullAsRequest

                return PullAsRequest(repo, QuantType.parse(quant))

            self._begin(make, tr("pull {spec} as {type}", spec=printable(repo), type=quant))
            return
        ready_made = result.kind.value == "gguf repository"
        self._pull(f"{repo}:{quant}" if ready_made else repo)

    def action_whole(self) -> None:
        if self._opened is not None:
            self._pull(self._result.model if self._result else self._opened)

    def _pull(self, spec: str) -> None:
        def make() -> object:
            from localq.services.pull.pull import PullRequest

            return PullRequest(spec)

        self._begin(make, tr("pull {spec}", spec=printable(spec)))

    def _begin(self, make: Callable[[], object], what: str) -> None:
        self.shell.begin_job(make, what)

    # --- moving about ---

    def action_words(self) -> None:
        self.query_one(Input).focus()

    def action_results(self) -> None:
        if self.query_one(_Results).display:
            self.query_one(_Results).focus()

    def action_back(self) -> None:
        if self._opened is not None:
            self._opened = None
            self.remove_class("-page")
            self.query_one("#about", Static).update("")
            self.query_one(Ladder).display = False
            self.query("#detail Notice").first(Notice).hide()
            table = self.query_one(_Results)
            (table if table.display else self.query_one(Input)).focus()
        elif self.query_one(_Results).display and isinstance(self.focused, Input):
            self.query_one(_Results).focus()
        else:
            self.set_focus(None)  # so that the keys of the screens are keys, not letters
        self.refresh_bindings()


def _columns() -> list[Column[FoundModel]]:
    return [
        Column(msg("Name"), lambda found, _: _name(found), least=26),
        Column(msg("Params"), lambda found, _: Text(found.size_class, "dim"), width=6, right=True),
        Column(
            msg("Licence"),
            lambda found, w: Text(elide(printable(found.licence), w), "dim"),
            width=14,
            rank=3,
        ),
        Column(msg("What"), lambda found, _: Text(_what(found)), width=12, rank=1),
        Column(
            msg("Pulled"),
            lambda found, _: Text(short_count(found.downloads), "dim"),
            width=6,
            right=True,
            rank=2,
        ),
        Column(msg("Changed"), lambda found, _: Text(found.updated, "dim"), width=10, rank=4),
    ]


def _name(found: FoundModel) -> Text:
    owner, slash, name = printable(found.repo).rpartition("/")
    return Text.assemble((owner + slash, "dim"), name)


def _what(found: FoundModel) -> str:
    marks = ["GGUF"] if found.gguf else []
    marks += [tr("gated")] if found.gated else []
    return " · ".join(marks)


def _about(result: FitResult) -> Text:
    text = Text(overflow="fold")
    parts = [
        printable(result.architecture),
        short_count(result.parameters),
        printable(result.licence),
        byte_size(result.total_bytes),
        tr("{context:,} tokens", context=result.trained_ctx) if result.trained_ctx else "",
    ]
    text.append(" · ".join(part for part in parts if part))
    if result.recommended:
        text.append(f"\n★ {tr('recommended: {type}', type=result.recommended)} · ", "bold")
    else:
        text.append("\n")
    text.append(printable(result.reason), "dim")
    for warning in result.warnings:
        text.append(f"\n! {printable(warning)}")
    for related in result.related[:2]:
        text.append("\n" + tr("ready-made: {repo}", repo=printable(related.repo)), "dim")
    return text
