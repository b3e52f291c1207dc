"""`localq import PATH...` and `localq import --from PROGRAM`"""

from __future__ import annotations

from pathlib import Path

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option
from localq.cli.progress import ProgressDisplay
from localq.display import byte_size
from localq.errors import LibraryError
from localq.library import Library
from localq.library.foreign import TOOLS
from localq.messages import msg
from localq.services.jobs.jobs import recorded
from localq.services.jobs.kinds.import_models import ImportKind
from localq.services.library.import_models import ImportRequest, ImportResult

__all__ = ["command"]


@click.command()
@click.argument("paths_or_names", nargs=-1, metavar="[PATH|NAME]...")
@click.option(
    "--from", "tool", type=click.Choice(list(TOOLS)), help="Take what this program holds."
)
@click.option("--all", "everything", is_flag=True, help="With --from: all that it holds.")
@click.option("--name", metavar="ORG/NAME[:QUANT]", help="What to call the model.")
@click.option("--copy", is_flag=True, help="Make a second copy instead of a link.")
@click.option("--move", is_flag=True, help="Take the files away from where they are.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@json_option
def command(
    paths_or_names: tuple[str, ...],
    tool: str | None,
    everything: bool,
    name: str | None,
    copy: bool,
    move: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take models into the library that are on this machine already, without a second copy.

    PATH is a .gguf file (of several shards any) or a checkpoint's folder. With --from, NAME is
    what that program calls a model; without NAME and --all its models are listed. Files become
    hard links where they are on the same disk, else reflinks, else they stay where they are and
    the library refers to them. A program that changes a linked file in place changes the library's
    model too: `localq verify` tells.
    """
    request = ImportRequest(
        paths=() if tool else tuple(map(Path, paths_or_names)),
        tool=tool,
        names=paths_or_names if tool else (),
        everything=everything,
        name=name,
        copy=copy,
        move=move,
        dry_run=dry_run,
    )
    with Library() as library, cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
        result = recorded(ImportKind(), library, request, emit, cancel)
    if as_json:
        output.json_document({**output.to_json(result), "saved_bytes": result.saved_bytes})
    elif result.taken:
        _report(result, wanted=name)
    else:
        _list(result, tool)
    if result.skipped and result.taken and not result.imported:
        raise LibraryError(
            msg("nothing was imported: {label} cannot be", label=result.skipped[0].label)
        )


def _report(result: ImportResult, wanted: str | None) -> None:
    for one in result.imported:
        if one.already_there:
            alias = (
                msg("; call it otherwise: localq alias {name} NAME", name=one.model.name)
                if wanted
                else ""
            )
            output.narrate(
                msg("{source} is in the library already{alias}", source=one.source, alias=alias)
            )
        else:
            output.narrate(
                msg(
                    "{source}: {how}",
                    source=one.source,
                    how=(_HOW[one.way.value] if one.way else ""),
                )
            )
        output.line(one.model.name)
    _tell_skipped(result)
    if result.saved_bytes:
        output.narrate(
            msg("{saved_bytes} of disk saved", saved_bytes=byte_size(result.saved_bytes))
        )


_HOW = {
    "hard link": "linked, it takes no more space",
    "reflink": "shares its blocks, it takes no more space",
    "reference": "stays where it is, on another disk or another's; the library refers to it",
    "copy": "copied",
    "move": "moved",
}


def _list(result: ImportResult, tool: str | None) -> None:
    if result.imported:
        output.table(
            (msg("NAME"), msg("SIZE"), msg("FOUND AS"), msg("IN THE LIBRARY")),
            (
                (
                    one.model.name,
                    byte_size(one.model.size_bytes),
                    one.source,
                    "yes" if one.already_there else "no",
                )
                for one in result.imported
            ),
        )
    elif not result.skipped:
        output.narrate(
            msg("{tool} holds no models that localq can use", tool=tool)
            if tool
            else msg("nothing found")
        )
    for note in sorted({note for one in result.imported for note in one.notes}):
        output.narrate(note)
    _tell_skipped(result)
    if tool and any(not one.already_there for one in result.imported):
        output.narrate(msg("take them: localq import --from {tool} --all, or name some", tool=tool))


def _tell_skipped(result: ImportResult) -> None:
    for skipped in result.skipped:
        output.warn(msg("{label}: {why}", label=skipped.label, why=skipped.why))
