"""The loop of a chat on the command line, and its commands."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from localq.cli import output
from localq.cli.chat_commands import COMMANDS, steps
from localq.cli.chat_input import ChatInput
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.quiet_keys import quiet_keys
from localq.cli.reply_display import ReplyDisplay, reply_display, show_reply
from localq.cli.sessions_table import numbered_notes
from localq.errors import Cancelled, LibraryError, LocalqError, UsageError
from localq.jobs import CancelEvent
from localq.messages import msg, translate
from localq.paths import Paths
from localq.services.chat.fitting import ContextFull
from localq.services.chat.session_chat import SessionChat
from localq.sessions import Attachment, Session, SessionMessage, SessionStore

__all__ = ["Talking"]

Open = Callable[[str | None, Session | None], SessionChat]
Check = Callable[[str], None]


class _Left(Exception):
    """The user leaves."""


class Talking:
    """One chat, until the user leaves; `chat` is the one that is open then, to be closed.

    `open_chat` opens a session with a model; `check` raises what would keep a model from being
    opened, as far as that shows at once. On a terminal an error is said and the chat goes on; where
    the input is piped it comes out.
    """

    def __init__(
        self,
        chat: SessionChat,
        paths: Paths,
        open_chat: Open,
        check: Check,
        *,
        given: Mapping[str, object],
        as_json: bool = False,
    ) -> None:
        self.chat = chat
        self._paths = paths
        self._store = SessionStore(paths)
        self._open = open_chat
        self._check = check
        self._given = given
        self._as_json = as_json
        self._attachments: list[Attachment] = []
        self._input: ChatInput
        self._meter = ("", 0.0)

    def run(self, asking: ChatInput, first: str | None = None) -> None:
        """`first` is said before anything is asked."""
        self._input = asking
        with suppress(_Left):
            while True:
                try:
                    text = first if first is not None else asking.ask()
                    first = None
                    if text is None:
                        break
                    self._take(text)
                except KeyboardInterrupt:
                    if not asking.is_terminal:
                        raise
                    output.narrate(msg("Ctrl-D or /quit leaves"))
                except Cancelled as stopped:
                    if not asking.is_terminal:
                        raise
                    output.narrate(stopped.message)
                except LocalqError as error:
                    if not asking.is_terminal:
                        raise
                    output.error(_within_chat(error))

    def status(self) -> str:
        """How full the context is, and whether another program has said something."""
        session = self.chat.session
        news = ""
        if session is not None:
            with suppress(LocalqError):
                if self._store.session(session.id).revision != session.revision:
                    news = translate(msg("another program is in this session: Enter shows it"))
        text, until = self._meter
        if time.monotonic() > until:
            with suppress(LocalqError):
                text = self._meter_text()
            self._meter = (text, time.monotonic() + 30)
        return "  ".join(part for part in (text, news) if part)

    def complete(self, command: str, rest: str) -> Iterable[str]:
        """What may follow a command."""
        match command:
            case "/file" | "/image" | "/export":
                folder, _, begin = rest.rpartition("/")
                with suppress(OSError):
                    for path in sorted(Path(folder or ("/" if "/" in rest else ".")).iterdir()):
                        if path.name.startswith(begin):
                            end = "/" if path.is_dir() else ""
                            yield f"{folder}/{path.name}{end}" if "/" in rest else path.name + end
            case "/preset":
                from localq.sessions.preset_files import PresetFiles

                yield from (n for n in PresetFiles(self._paths).names() if n.startswith(rest))
            case "/full":
                yield from (w for w in ("stop", "slide", "summarise") if w.startswith(rest))
            case "/model":
                from localq.library import Library

                for model in Library(self._paths).models():
                    if model.format.is_runnable and rest.casefold() in model.name.casefold():
                        yield model.name

    def recall(self, count: int) -> None:
        """Show what was said last."""
        for message in self.chat.path[-count:]:
            self._show(message)

    def attach(self, attachment: Attachment) -> None:
        """Send a text or a picture with the next message, and say what it takes."""
        (counted,) = self.chat.attach([attachment])
        self._attachments.append(counted)
        output.narrate(
            msg(
                "{name}: {tokens:,} tokens of {n_ctx:,}; it goes with the next message",
                name=counted.name,
                tokens=counted.tokens,
                n_ctx=self.chat.chat.loaded.n_ctx,
            )
        )

    def _take(self, text: str) -> None:
        for command, rest in steps(text):
            if command:
                self._do(command, rest)
            else:
                self._say(rest)

    def _say(self, text: str) -> None:
        self._show_news()
        if not text.strip() and not self._attachments:
            return
        # A file that is too large must not stand in the way of all that is said next.
        attached, self._attachments = self._attachments, []
        try:
            self._reply(
                lambda cancel, show: self.chat.send(
                    text, attached, given=self._given, cancel=cancel, on_event=show
                )
            )
        except UsageError:
            for attachment in attached:
                output.narrate(
                    msg(
                        "{name} goes with no message any more; /file takes it again",
                        name=attachment.name,
                    )
                )
            raise

    def _do(self, command: str, rest: str) -> None:
        chat = self.chat
        self._meter = ("", 0.0)
        match command:
            case "/quit":
                raise _Left
            case "/help":
                for name, about in COMMANDS.items():
                    output.field(name, about, 9)
                output.line(
                    msg('Enter sends, Alt-Enter begins another line; so does """ until """')
                )
            case "/retry":
                self._reply(
                    lambda cancel, show: chat.retry(given=self._given, cancel=cancel, on_event=show)
                )
            case "/edit":
                self._edit(rest)
            case "/back":
                said = chat.back()
                output.narrate(
                    msg("the session goes on before: {said} (/prev: back to it)", said=said[:200])
                )
            case "/prev" | "/next":
                if not chat.beside(-1 if command == "/prev" else 1):
                    raise UsageError(
                        msg("this is the first branch")
                        if command == "/prev"
                        else msg("this is the last branch")
                    )
                self._show(chat.path[-1])
            case "/file":
                from localq.sessions.attachments import read_attachment

                if not rest:
                    raise UsageError(msg("no file is named"), hint=msg("/file PATH"))
                self.attach(read_attachment(Path(rest).expanduser()))
            case "/image":
                from localq.sessions.picture_attachments import read_picture_attachment

                if not rest:
                    raise UsageError(msg("no file is named"), hint=msg("/image PATH"))
                self.attach(read_picture_attachment(Path(rest).expanduser()))
            case "/system":
                if rest:
                    chat.set_preset(replace(chat.preset, system=rest))
                output.line(chat.preset.system or msg("there is no system prompt"))
            case "/preset":
                self._preset(rest)
            case "/full":
                from localq.sessions.preset import on_full_named

                if rest:
                    chat.set_preset(replace(chat.preset, on_full=on_full_named(rest)))
                output.line(chat.preset.on_full)
            case "/model":
                self._switch(rest)
            case "/tokens":
                output.line(self._meter_text())
            case "/save":
                self._save(rest)
            case "/export":
                self._export(rest)
            case "/new":
                chat.begin_anew()
                self._attachments = []
                output.narrate(msg("a new session begins with what is said next"))

    def _reply(self, ask: Callable[[CancelEvent, ReplyDisplay], SessionMessage]) -> None:
        show = reply_display(as_json=self._as_json)
        with quiet_keys() if self._input.is_terminal else nullcontext():
            try:
                with cancel_on_interrupt() as cancel:
                    reply = ask(cancel, show)
            finally:
                show.close()
                self._meter = ("", 0.0)
        if self._as_json:
            assert self.chat.session
            output.json_line({"session": self.chat.session.id, "message": reply})
            return
        notes = numbered_notes(self.chat.tree, reply).partition(" · ")[2]
        if self._input.is_terminal:
            output.aside(" · ".join(part for part in (notes, self._meter_text()) if part))
        if reply.stop == "context":
            output.warn(
                msg(
                    "the reply is cut off: the context of {n_ctx:,} tokens is full",
                    n_ctx=self.chat.chat.loaded.n_ctx,
                )
            )

    def _edit(self, text: str) -> None:
        chat = self.chat
        if not text:
            if not self._input.is_terminal:
                raise UsageError(msg("nothing to say in place of it"), hint=msg("/edit TEXT"))
            said = next((m.content for m in reversed(chat.path) if m.role == "user"), None)
            if said is None:
                raise UsageError(msg("nothing was said yet"))
            text = self._input.ask(said) or ""
            if not text.strip():
                return
        self._reply(
            lambda cancel, show: chat.edit(text, given=self._given, cancel=cancel, on_event=show)
        )

    def _preset(self, name: str) -> None:
        from localq.services.chat.presets import preset_named

        if name:
            self.chat.set_preset(preset_named(self._paths, name))
        preset = self.chat.preset
        output.line(f"{preset.name}: {translate(preset.about or preset.system)}")

    def _switch(self, name: str) -> None:
        if not name:
            output.line(self.chat.model_name)
            return
        self._check(name)  # what a typo means shows before the model that answers is given up
        before, preset = self.chat, self.chat.preset
        before.close()
        try:
            self.chat = self._open(name, before.session)
        except LocalqError:
            self.chat = self._open(before.model_name, before.session)
            raise
        finally:
            if self.chat is not before and self.chat.preset != preset:
                self.chat.set_preset(preset)
        output.narrate(msg("{model} answers now", model=self.chat.model_name))

    def _save(self, title: str) -> None:
        if title:
            self.chat.rename(title)
        session = self.chat.session
        if session is None:
            output.narrate(msg("the session is kept from the first message on"))
        else:
            output.narrate(msg("kept as session {id}: {title}", id=session.id, title=session.title))

    def _export(self, file: str) -> None:
        from localq.services.chat.session_files import export_session

        if not file:
            raise UsageError(msg("no file is named"), hint=msg("/export FILE.md, .json or .html"))
        if self.chat.session is None:
            raise UsageError(msg("nothing was said yet"))
        try:
            output.path(export_session(self._store, self.chat.session.id, Path(file)))
        except LibraryError as error:  # there is a file of this name
            raise LibraryError(error.message, hint=msg("/export with another name")) from None

    def _show_news(self) -> None:
        news = self.chat.refresh()
        if news:
            output.narrate(msg("another program has said in this session:"))
        for message in news:
            self._show(message)

    def _show(self, message: SessionMessage) -> None:
        who = msg("You") if message.role == "user" else msg("Model")
        output.heading(who, numbered_notes(self.chat.tree, message))
        if message.role == "user":
            output.text(message.content.strip("\n"))
        else:
            show_reply(message.content)

    def _meter_text(self) -> str:
        meter = self.chat.meter()
        text = msg("{used:,} of {n_ctx:,} tokens", used=meter.used, n_ctx=meter.n_ctx)
        if meter.left_out:
            text += msg(", {count} messages left out", count=meter.left_out)
        return translate(text)


def _within_chat(error: LocalqError) -> LocalqError:
    """The error with advice that can be followed in a chat, where there are no options."""
    hint = error.hint
    if isinstance(error, ContextFull):
        hint = msg("/full slide or /full summarise leaves out what is old; or a shorter message")
    elif hint and "--" in hint and "localq" not in hint:
        hint = msg("{hint} (/quit first, then: localq chat --last ...)", hint=hint)
    return LocalqError(error.message, hint)
