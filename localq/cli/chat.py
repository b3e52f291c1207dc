"""`localq chat [MODEL]`"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option, optional_model
from localq.cli.plan_options import plan_options, plan_options_from
from localq.cli.progress import ProgressDisplay
from localq.cli.reply_options import reply_options, sampling_from, system_option
from localq.errors import NotFoundError, UsageError
from localq.library import Library
from localq.messages import msg

if TYPE_CHECKING:
    from localq.cli.talking import Talking
    from localq.planning.offload_plan import PlanOptions
    from localq.services.chat.session_chat import SessionChat
    from localq.sessions import Preset, Session, SessionStore

__all__ = ["chat_with", "command"]

_RECALLED = 2


@click.command()
@optional_model
@click.option(
    "--session",
    "named",
    metavar="NAME",
    help="Go on with this session (number or title), or begin one of this title.",
)
@click.option("--last", is_flag=True, help="Go on with the session used last.")
@click.option("--preset", metavar="NAME", help="Answer as this preset says; see `localq presets`.")
@system_option
@click.option(
    "--on-full",
    type=click.Choice(["stop", "slide", "summarise"]),
    help="When the context is full: send nothing, leave out the oldest, or summarise it.",
)
@click.option(
    "--file", "files", multiple=True, metavar="FILE", help="Send it with what is said first."
)
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Send this picture with what is said first.",
)
@reply_options
@plan_options
@click.option("--force", is_flag=True, help="Try even where the model cannot fit.")
@json_option
def command(
    model: str | None,
    named: str | None,
    last: bool,
    preset: str | None,
    system: str | None,
    on_full: str | None,
    files: tuple[str, ...],
    images: tuple[Path, ...],
    think: bool | None,
    effort: str | None,
    template: str | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Talk with MODEL; what is said is kept as a session.

    MODEL is a name or a .gguf file; without it, the session's, or the one pulled, made or used
    last. On a terminal /help lists what can be done besides. Where stdin is no terminal, each of
    its lines is a message. With --json each reply is one line.
    """
    from localq.sessions import SessionStore

    if last and named is not None:
        raise UsageError(msg("--last and --session at once"), hint=msg("give one of them"))
    names = ("max_tokens", "temperature", "seed", "json_schema", "grammar")
    given = sampling_from(**{name: options.pop(name) for name in names})
    with Library() as library:
        store = SessionStore(library.paths)
        session, title = _session(store, named, last=last)
        wanted = _preset(library, session, preset, system, on_full)
        chat_with(
            library,
            model,
            session=session,
            title=title,
            preset=wanted,
            files=files,
            images=images,
            given=given,
            wanted=plan_options_from(**options),
            think=think,
            effort=effort,
            template=template,
            force=force,
            as_json=as_json,
        )


def chat_with(
    library: Library,
    model: str | None,
    *,
    session: Session | None = None,
    title: str = "",
    preset: Preset | None = None,
    files: tuple[str, ...] = (),
    images: tuple[Path, ...] = (),
    given: Mapping[str, Any],
    wanted: PlanOptions,
    think: bool | None = None,
    effort: str | None = None,
    template: str | None = None,
    force: bool = False,
    as_json: bool = False,
) -> None:
    """Talk until the user leaves."""
    from localq.cli.talking import Talking
    from localq.services.chat.chat_model import check_chat_model
    from localq.services.chat.presets import check_reply_settings
    from localq.services.chat.session_chat import SessionChat
    from localq.sessions.attachments import read_attachment
    from localq.sessions.picture_attachments import read_picture_attachment
    from localq.sessions.preset import DEFAULT

    attachments = [read_attachment(Path(file)) for file in files]
    attachments += [read_picture_attachment(image) for image in images]
    check_reply_settings(preset or (session.preset if session else DEFAULT), given)
    with ProgressDisplay(quiet=as_json) as emit:

        def open_chat(model: str | None, session: Session | None) -> SessionChat:
            with cancel_on_interrupt() as cancel:
                return SessionChat.open(
                    library,
                    model,
                    session=session,
                    preset=preset,
                    title=title,
                    plan_options=wanted,
                    think=think,
                    effort=effort,
                    template=template,
                    force=force,
                    emit=emit,
                    cancel=cancel,
                )

        def check(model: str) -> None:
            check_chat_model(library, model, template)

        talking = Talking(
            open_chat(model, session), library.paths, open_chat, check, given=given, as_json=as_json
        )
        try:
            for attachment in attachments:
                talking.attach(attachment)
            if sys.stdin.isatty() and sys.stdout.isatty() and not as_json:
                _on_terminal(talking, library, talking.chat)
            else:
                from localq.cli.chat_input import PipedInput

                talking.run(PipedInput())
        finally:
            talking.chat.close()


def _on_terminal(talking: Talking, library: Library, chat: SessionChat) -> None:
    from localq.cli.chat_commands import COMMANDS
    from localq.cli.chat_input import TerminalInput
    from localq.messages import translate

    output.narrate(
        msg(
            "{model} · {n_ctx:,} tokens of context · /help · Ctrl-D leaves",
            model=chat.model_name,
            n_ctx=chat.chat.loaded.n_ctx,
        )
    )
    if chat.chat.continues_text:
        output.warn(msg("this model has no chat template: it goes on with what is said"))
    session = chat.session
    if session is not None:
        output.narrate(
            msg(
                "session {id}: {title} ({count} messages)",
                id=session.id,
                title=session.title,
                count=session.message_count,
            )
        )
        talking.recall(_RECALLED)
    commands = {name: translate(about) for name, about in COMMANDS.items()}
    history = library.paths.data / "chat_history"
    talking.run(TerminalInput(history, commands, talking.complete, talking.status))


def _session(store: SessionStore, named: str | None, *, last: bool) -> tuple[Session | None, str]:
    """The session to go on with, or the title of one to begin."""
    if last:
        return store.last(), ""
    if named is None:
        return None, ""
    try:
        return store.find(named), ""
    except NotFoundError:
        if named.strip().isdigit():
            raise
        output.narrate(msg("a new session: {title}", title=named))
        return None, named


def _preset(
    library: Library,
    session: Session | None,
    name: str | None,
    system: str | None,
    on_full: str | None,
) -> Preset | None:
    """What is asked for; None: nothing."""
    from localq.services.chat.presets import preset_named
    from localq.sessions.preset import DEFAULT, OnFull

    if name is None and system is None and on_full is None:
        return None
    preset = session.preset if session else DEFAULT
    if name is not None:
        preset = preset_named(library.paths, name)
    if system is not None:
        preset = replace(preset, system=system)
    return replace(preset, on_full=OnFull(on_full)) if on_full else preset
