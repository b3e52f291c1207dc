"""`localq trash [list]` and `localq trash empty`"""

from __future__ import annotations

import time

import click

from localq.cli import output
from localq.cli.consent import consent_by
from localq.cli.options import json_option
from localq.display import byte_size
from localq.errors import Cancelled
from localq.library import Library
from localq.messages import msg

__all__ = ["command"]


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """What `localq rm` removed. It takes its space until the trash is emptied."""
    if context.invoked_subcommand is None:
        _list(as_json)


@command.command(name="list", short_help="List what is in the trash.")
@json_option
def list_command(as_json: bool) -> None:
    """List what is in the trash, the latest first."""
    _list(as_json)


@command.command(short_help="Delete what is in the trash for good.")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--older-than", metavar="AGE", help="Only what was removed so long ago: 7d, 12h.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and do nothing.")
@json_option
def empty(
    models: tuple[str, ...], older_than: str | None, yes: bool, dry_run: bool, as_json: bool
) -> None:
    """Delete everything in the trash, or the named MODELs, for good."""
    from localq.services.library.remove import empty_trash, parse_age

    age = parse_age(older_than) if older_than else None
    with Library() as library:
        would = empty_trash(library, models, older_than=age, dry_run=True)
        freed = byte_size(would.freed_bytes)
        if not dry_run and would.models:
            count = len(would.models)
            what = msg("{count} models", count=count) if count > 1 else would.models[0].name
            question = msg("delete {what} for good ({freed})?", what=what, freed=freed)
            if not consent_by(yes=yes)(question):
                raise Cancelled(msg("stopped; the trash is as it was"))
            would = empty_trash(library, models, older_than=age)
            freed = byte_size(would.freed_bytes)
    if as_json:
        output.json_document(would)
    elif not would.models:
        output.narrate(msg("nothing to delete"))
    else:
        for model in would.models:
            output.line(model.name)
        output.narrate(
            msg("{freed} would be freed", freed=freed)
            if dry_run
            else msg("{freed} freed", freed=freed)
        )


def _list(as_json: bool) -> None:
    with Library() as library:
        entries = library.trash.entries()
    if as_json:
        output.json_document(entries)
    elif not entries:
        output.narrate(msg("the trash is empty"))
    else:
        output.table(
            (msg("NUMBER"), msg("NAME"), msg("SIZE"), msg("REMOVED"), msg("STATE")),
            (
                (
                    str(entry.id),
                    entry.model.name,
                    byte_size(entry.model.size_bytes),
                    time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.removed_at)),
                    "" if entry.state == "kept" else f"{entry.state}: localq doctor --repair",
                )
                for entry in entries
            ),
        )
