"""`localq rm MODEL...`"""

from __future__ import annotations

import sys

import click

from localq.cli import output
from localq.cli.consent import consent_by
from localq.cli.options import json_option
from localq.display import byte_size, printable
from localq.errors import Cancelled
from localq.library import Library
from localq.messages import msg

__all__ = ["command"]

_SHOWN = 5


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--now", is_flag=True, help="Delete at once, not into the trash.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and do nothing.")
@json_option
def command(models: tuple[str, ...], yes: bool, now: bool, dry_run: bool, as_json: bool) -> None:
    """Move MODELs and their files from the library into its trash.

    `localq restore` brings them back; `localq trash empty` gives their space back. Of a model
    whose files lie outside localq's folder only the entry goes: such files are never touched.
    """
    from localq.services.library.remove import end_interrupted, plan_removal, remove

    with Library() as library:
        ended, left = ([], models) if dry_run else end_interrupted(library, models, now=now)
        plans, frees = plan_removal(library, left)
        if not as_json:
            for plan in plans:
                for sharer in () if plan.model.external else plan.sharers[:_SHOWN]:
                    output.narrate(
                        msg(
                            "{name}: {who} has it too: {other}",
                            name=plan.model.name,
                            who=sharer.who,
                            other=sharer.other,
                        )
                    )
        if dry_run:
            if as_json:
                output.json_document({"models": plans, "frees_bytes": frees})
                return
            for plan in plans:
                what = "forgets" if plan.model.external else "deletes" if now else "trashes"
                output.line(f"{what} {plan.model.name}")
                if plan.model.external:
                    output.narrate(msg("its files stay at {path}", path=plan.model.path))
            if not all(plan.model.external for plan in plans):
                output.narrate(_frees(frees, now=now))
            return
        names = ", ".join(plan.model.name for plan in plans)
        if now and plans:
            question = msg(
                "delete {names} for good ({frees})?", names=names, frees=byte_size(frees)
            )
            if not consent_by(yes=yes)(question):
                raise Cancelled(msg("stopped; nothing was removed"))
        elif plans and not yes and sys.stdin.isatty():
            size = byte_size(sum(plan.model.size_bytes for plan in plans))
            click.confirm(
                msg("remove {printable} ({size})?", printable=printable(names), size=size),
                abort=True,
                err=True,
            )
        removed = [*ended, *remove(library, [plan.model.name for plan in plans], now=now)]
        frees += sum(one.frees_bytes for one in ended)
    if as_json:
        output.json_document({"removed": removed, "frees_bytes": frees, "deleted": now})
        return
    for one in removed:
        if one.model.external:
            output.narrate(
                msg(
                    "forgot {name}; its files stay at {path}",
                    name=one.model.name,
                    path=one.model.path,
                )
            )
        elif one.trash_id is None:
            output.narrate(msg("forgot {name}, whose files were gone", name=one.model.name))
        elif now:
            output.narrate(msg("deleted {name}", name=one.model.name))
        else:
            name = one.model.name
            output.narrate(
                msg("{name} is in the trash; bring it back with: localq restore {name}", name=name)
            )
    if any(one.trash_id is not None for one in removed):
        output.narrate(_frees(frees, now=now))


def _frees(size: int, *, now: bool) -> str:
    if size == 0:
        return msg("that frees nothing: others have the same files")
    if now:
        return msg("{size} freed", size=byte_size(size))
    return msg("localq trash empty frees {size}", size=byte_size(size))
