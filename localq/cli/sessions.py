"""`localq sessions` and its own verbs"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from localq.cli import output
from localq.cli.options import json_option
from localq.cli.sessions_table import show_found, show_messages, show_sessions
from localq.errors import Cancelled, UsageError
from localq.messages import msg
from localq.paths import Paths
from localq.sessions import Session, SessionStore
from localq.sessions.session import shown_end

__all__ = ["command"]

_SHOWN = 30
_FORMATS = ("markdown", "json", "openai", "html")

_session = click.argument("session", metavar="SESSION")
_page = click.option(
    "--page", type=click.IntRange(1, 100_000), help="The ones after the first: 2, 3, ..."
)


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Conversations that are kept, every one of `localq chat`.

    SESSION is a number, a title, or a part of one title.
    """
    if context.invoked_subcommand is None:
        _list((), archived=False, page=None, every=False, as_json=as_json)


@command.command(name="list", short_help="List sessions, those used last first.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only sessions that have it.")
@click.option("--archived", is_flag=True, help="Those that were put away.")
@click.option("--all", "every", is_flag=True, help="Not only 30 of them.")
@_page
@json_option
def list_command(
    tags: tuple[str, ...], archived: bool, every: bool, page: int | None, as_json: bool
) -> None:
    """List sessions: pinned ones, then those used last."""
    if every and page:
        raise UsageError(msg("--all and --page at once"))
    _list(tags, archived=archived, page=page, every=every, as_json=as_json)


@command.command(short_help="Print a session.")
@_session
@click.option("--all", "every", is_flag=True, help="All branches.")
@json_option
def show(session: str, every: bool, as_json: bool) -> None:
    """Print the branch that a session goes on with.

    Where a message has alternatives, it says which of how many it is.
    """
    store = _store()
    found, tree = store.opened(store.find(session).id)
    messages = list(tree) if every else tree.path(shown_end(found, tree))
    if as_json:
        output.json_document({**_document(found), "messages": messages})
    else:
        show_messages(found, tree, messages)


@command.command(short_help="Find sessions by words in them.")
@click.argument("words", nargs=-1, required=True)
@click.option(
    "--limit", type=click.IntRange(1, 500), default=20, show_default=True, help="At most."
)
@_page
@json_option
def search(words: tuple[str, ...], limit: int, page: int | None, as_json: bool) -> None:
    """Find sessions with a message that has all WORDS, or with all of them in the title.

    A word is found by its beginning, from three letters on; Chinese and Japanese anywhere.
    """
    if not any(character.isalnum() for word in words for character in word):
        raise UsageError(msg("no word to look for"), hint=msg("localq sessions search WORDS"))
    found = _store().search(" ".join(words), limit=limit, skip=((page or 1) - 1) * limit)
    if as_json:
        output.json_document(
            [{**output.to_json(one), "session": _document(one.session)} for one in found]
        )
    elif not found:
        output.narrate(msg("no session has: {words}", words=" ".join(words)))
    else:
        show_found(found)


@command.command(short_help="Give a session another title.")
@_session
@click.argument("title", nargs=-1, required=True)
@json_option
def rename(session: str, title: tuple[str, ...], as_json: bool) -> None:
    """Give a session another title."""
    store = _store()
    _report(store.rename(store.find(session).id, " ".join(title)), as_json)


@command.command(short_help="Forget sessions for good.")
@click.argument("sessions", metavar="SESSION...", nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
def rm(sessions: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Forget sessions and all their messages for good.

    `localq sessions archive` only puts them out of sight.
    """
    from localq.cli.consent import consent_by

    store = _store()
    found = {session.id: session for session in map(store.find, sessions)}
    messages = sum(session.message_count for session in found.values())
    what = ", ".join(f"{s.id} ({s.title})" for s in list(found.values())[:5])
    question = msg("forget {messages} messages of {what} for good?", messages=messages, what=what)
    if not consent_by(yes=yes)(question):
        raise Cancelled(msg("stopped; nothing was forgotten"))
    removed = [store.remove(session_id) for session_id in found]
    if as_json:
        output.json_document([_document(session) for session in removed])
    else:
        for session in removed:
            output.line(str(session.id))


@command.command(short_help="Write a session as Markdown, JSON or a page.")
@_session
@click.option("--format", "form", type=click.Choice(_FORMATS), help="Else as FILE is named.")
@click.option("-o", "--output", "path", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE.")
@json_option
def export(session: str, form: str | None, path: Path | None, force: bool, as_json: bool) -> None:
    """Write a session to stdout, as Markdown, or to FILE.

    "json" has all branches and can be imported again, "openai" the messages of a request, "html" is
    one page that needs nothing else.
    """
    from localq.services.chat.session_files import export_session, export_text
    from localq.sessions.exports import ExportFormat

    store = _store()
    found = store.find(session)
    wanted = ExportFormat(form) if form else None
    if path is None:
        if as_json and wanted not in (None, ExportFormat.JSON):
            raise UsageError(msg("--json is the format json: leave out --format"))
        usual = ExportFormat.JSON if as_json else ExportFormat.MARKDOWN
        output.document(export_text(store, found.id, wanted or usual))
        return
    written = export_session(store, found.id, path, wanted, force=force)
    if as_json:
        output.json_document({"id": found.id, "path": written})
    else:
        output.path(written)


@command.command(name="import", short_help="Take in sessions from files.")
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@json_option
def import_command(files: tuple[Path, ...], as_json: bool) -> None:
    """Take in sessions from files: exports of localq, or lists of OpenAI's messages."""
    from localq.services.chat.session_files import import_session

    store = _store()
    taken = [import_session(store, path) for path in files]
    if as_json:
        output.json_document([_document(session) for session in taken])
    else:
        show_sessions(taken, time.time())


@command.command(short_help="Copy a session, to go on otherwise.")
@_session
@click.option("--title", default="", help="The copy's; else the same with (2).")
@click.option("--at", "message_id", type=int, metavar="MESSAGE", help="Only up to this message.")
@json_option
def fork(session: str, title: str, message_id: int | None, as_json: bool) -> None:
    """Copy the branch that a session goes on with into a session of its own."""
    store = _store()
    _report(store.fork(store.find(session).id, message_id, title), as_json)


@command.command(short_help="Keep a session at the top of the list.")
@_session
@click.option("--off", is_flag=True, help="No longer.")
@json_option
def pin(session: str, off: bool, as_json: bool) -> None:
    """Keep a session at the top of the list."""
    store = _store()
    _report(store.pin(store.find(session).id, not off), as_json)


@command.command(short_help="Put a session out of sight.")
@_session
@click.option("--off", is_flag=True, help="Take it out again.")
@json_option
def archive(session: str, off: bool, as_json: bool) -> None:
    """Put a session out of sight; `sessions list --archived` shows it, and searches find it."""
    store = _store()
    _report(store.archive(store.find(session).id, not off), as_json)


@command.command(
    short_help="Add and take away a session's tags.",
    context_settings={"ignore_unknown_options": True},
)
@_session
@click.argument("tags", metavar="+TAG|-TAG...", nargs=-1, required=True)
@json_option
def tag(session: str, tags: tuple[str, ...], as_json: bool) -> None:
    """Add tags with `+work`, take them away with `-work`."""
    store = _store()
    remove = [tag[1:] for tag in tags if tag.startswith("-")]
    add = [tag.removeprefix("+") for tag in tags if not tag.startswith("-")]
    _report(store.tag(store.find(session).id, add, remove), as_json)


def _store() -> SessionStore:
    return SessionStore(Paths.from_environment())


def _list(
    tags: tuple[str, ...], *, archived: bool, page: int | None, every: bool, as_json: bool
) -> None:
    """As JSON all of them, unless a page is asked for."""
    limit = None if every or (as_json and page is None) else _SHOWN
    page = page or 1
    found = _store().sessions(
        archived=archived,
        tags=tags,
        limit=None if limit is None else limit + (not as_json),  # one more tells that there is more
        skip=(page - 1) * _SHOWN,
    )
    if as_json:
        output.json_document([_document(session) for session in found])
    elif not found and page > 1:
        output.narrate(msg("there is no page {page}", page=page))
    elif not found and tags:
        output.narrate(msg("no session is tagged {tags}", tags=" and ".join(tags)))
    elif not found and archived:
        output.narrate(msg("no session was put away"))
    elif not found:
        output.narrate(msg("no sessions yet; begin one with: localq chat"))
    else:
        show_sessions(found[:limit], time.time())
        if limit is not None and len(found) > limit:
            output.narrate(msg("there are more: --page {next}, or --all", next=page + 1))


def _document(session: Session) -> dict[str, Any]:
    return {**output.to_json(session), "plan": dict(session.plan)}


def _report(session: Session, as_json: bool) -> None:
    if as_json:
        output.json_document(_document(session))
    else:
        show_sessions([session], time.time())
