"""A reply on the terminal as it comes: Markdown that grows, or plain text where it is piped."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol

from localq.chat_format.reply import CallMade, ContentText, Event, ReasoningText
from localq.cli import output
from localq.display import printable_lines
from localq.messages import msg, translate
from localq.services.chat.session_chat import SummaryMade

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live
    from rich.markdown import Markdown

__all__ = [
    "PlainReply",
    "ReplyDisplay",
    "SilentReply",
    "reply_display",
    "settled_end",
    "show_reply",
]

_SECONDS_BETWEEN_DRAWINGS = 0.08


class ReplyDisplay(Protocol):
    def __call__(self, event: Event | SummaryMade) -> None: ...

    def close(self) -> None:
        """The reply has ended."""


def reply_display(*, as_json: bool = False) -> ReplyDisplay:
    """What suits where the reply goes."""
    if as_json:
        return SilentReply()
    return MarkdownReply() if sys.stdout.isatty() else PlainReply()


def show_reply(text: str) -> None:
    """A reply that is whole."""
    display = reply_display()
    display(ContentText(text.strip("\n")))
    display.close()


class SilentReply:
    """For a reply that is printed when it is whole."""

    def __call__(self, event: Event | SummaryMade) -> None:
        pass

    def close(self) -> None:
        pass


class PlainReply:
    """What is said, as it is, to stdout; nothing of what is thought."""

    def __init__(self) -> None:
        self._ends_line = True

    def __call__(self, event: Event | SummaryMade) -> None:
        match event:
            case ContentText(text):
                output.stream(text)
                self._ends_line = text.endswith("\n")
            case CallMade(_, call):
                output.stream(f"{call.name}({call.arguments})\n")

    def close(self) -> None:
        if not self._ends_line:
            output.stream("\n")


class MarkdownReply:
    """Blocks that are finished are printed for good; the last is drawn anew while it grows."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self._console = console or Console()
        self._live: Live | None = None
        self._text = ""
        self._thinks = False
        self._next_drawing = 0.0

    def __call__(self, event: Event | SummaryMade) -> None:
        match event:
            case ReasoningText(text):
                self._thinks = True
                self._console.print(
                    printable_lines(text), end="", style="dim", markup=False, highlight=False
                )
            case ContentText(text):
                self._end_thought()
                self._text += printable_lines(text)
                self._grow()
            case CallMade(_, call):
                self._settle(len(self._text))
                line = printable_lines(f"{call.name}({call.arguments})")
                self._console.print(line, style="cyan", markup=False, highlight=False)
            case SummaryMade(text, count):
                title = translate(msg("summary of the oldest {count} messages", count=count))
                self._console.print(f"[{title}]", style="dim bold", markup=False)
                self._console.print(printable_lines(text), style="dim", markup=False)

    def close(self) -> None:
        self._end_thought()
        self._settle(len(self._text))

    def _end_thought(self) -> None:
        if self._thinks:
            self._thinks = False
            self._console.print("\n")

    def _grow(self) -> None:
        if end := settled_end(self._text):
            self._settle(end)
        now = time.monotonic()
        if now < self._next_drawing or not self._text.strip():
            return
        self._next_drawing = now + _SECONDS_BETWEEN_DRAWINGS
        if self._live is None:
            from rich.live import Live

            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(_Tail(self._text), refresh=True)

    def _settle(self, end: int) -> None:
        """Print the text up to `end` for good."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        done, self._text = self._text[:end], self._text[end:]
        if done.strip():
            self._console.print(_markdown(done))
            if self._text.strip() or not end:
                self._console.print()


class _Tail:
    """The last lines of a text that is higher than the screen."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segment

        lines = console.render_lines(_markdown(self._text), options, pad=False)
        for line in lines[-max(1, console.height - 2) :]:
            yield from line
            yield Segment.line()


def _markdown(text: str) -> Markdown:
    """With HTML as the text it is, which rich would leave out: `<div>`, or a tag of the model's."""
    from markdown_it import MarkdownIt
    from rich.markdown import Markdown

    markdown = Markdown(text, hyperlinks=False)
    parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
    markdown.parsed = parser.parse(text)
    return markdown


def settled_end(text: str) -> int:
    """Where the last finished block of a growing Markdown text ends: after a blank line that is
    outside of fenced code, and before a line that does not go on with a list; 0: nowhere."""
    fence = ""
    end = position = 0
    blank = False
    for line in text.splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        bare = line.strip()
        if fence:
            if bare.startswith(fence) and not bare.strip(fence[0]):
                fence = ""
        else:
            if blank and bare and not line[:1].isspace():
                end = position
            if bare.startswith(("```", "~~~")):
                fence = bare[: len(bare) - len(bare.lstrip(bare[0]))]
        blank = not bare
        position += len(line)
    return end
