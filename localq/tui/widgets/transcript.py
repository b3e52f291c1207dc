"""The conversation so far, following its end unless the user scrolls away."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Markdown, Static

from localq.display import printable, printable_lines
from localq.errors import LocalqError
from localq.tui.text import tr
from localq.tui.widgets.notice import Notice

__all__ = ["Reply", "Transcript"]

_CURSOR = "▍"
_TAB = "    "


class Transcript(VerticalScroll, can_focus=False):
    DEFAULT_CSS = """
    Transcript {
        height: 1fr;
        padding: 1 2;
        scrollbar-size-vertical: 1;
        .turn { height: auto; margin-bottom: 1; }
        .turn--name { height: 1; color: $primary; text-style: bold; }
        .turn.-user .turn--name { color: $accent; }
        .turn--text { height: auto; }
        .turn--end { height: auto; color: $text-muted; text-style: italic; }
        Markdown { padding: 0; margin: 0; }
        Markdown > MarkdownBlock:last-child { margin-bottom: 0; }
        #intro { color: $text-muted; height: auto; }
    }
    """

    def compose(self) -> ComposeResult:
        yield Static(id="intro", markup=False)

    def on_mount(self) -> None:
        self.anchor()

    def introduce(self, text: str) -> None:
        """A line that stands there until something is said."""
        self.query_one("#intro", Static).update(Text(printable(text)))

    def show_error(self, error: LocalqError) -> None:
        self.introduce("")
        notice = Notice()
        self.mount(notice)
        notice.show_error(error)

    def remark(self, text: str) -> None:
        notice = Notice()
        self.mount(notice)
        notice.show_remark(text)

    def say(self, text: str) -> None:
        """What the user said."""
        self.query_one("#intro").display = False
        self.mount(
            Vertical(
                Static(tr("You"), classes="turn--name", markup=False),
                Static(Text(_drawable(text)), classes="turn--text"),
                classes="turn -user",
            )
        )
        self.anchor()

    def begin_reply(self, name: str) -> Reply:
        reply = Reply(name)
        self.mount(reply)
        return reply


class Reply(Vertical):
    """Plain text while it arrives; Markdown once it is whole."""

    def __init__(self, name: str) -> None:
        super().__init__(classes="turn")
        self._speaker = Static(Text(printable(name)), classes="turn--name")
        self._body = Static(_CURSOR, classes="turn--text", markup=False)
        self._text = ""

    def compose(self) -> ComposeResult:
        yield self._speaker
        yield self._body

    def write(self, text: str) -> None:
        self._text += _drawable(text)
        self._body.update(Text(self._text + _CURSOR))

    def finish(self, end: str | None = None) -> None:
        """`end`: why the reply ends here, where that is worth saying."""
        self._body.remove()
        if text := self._text.strip():
            self.mount(Markdown(text, parser_factory=_parser, open_links=False))
        if end:
            self.mount(Static(end, classes="turn--end", markup=False))

    def fail(self, error: LocalqError) -> None:
        self.finish()
        notice = Notice()
        self.mount(notice)
        notice.show_error(error)


def _drawable(text: str) -> str:
    """A terminal's own tabs would tear holes into what is drawn around them."""
    return printable_lines(text).replace("\t", _TAB)


def _parser() -> MarkdownIt:
    """Markdown as models write it: HTML is text to be seen, and a line break is meant as one."""
    parser = MarkdownIt("gfm-like", {"html": False})
    parser.core.ruler.push("keep_line_breaks", _keep_line_breaks)
    return parser


def _keep_line_breaks(state: StateCore) -> None:
    for token in state.tokens:
        for child in token.children or ():
            if child.type == "softbreak":
                child.type = "hardbreak"
