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
                    output.narrate(f"{plan.model.name}: {sharer.who} has it too: {sharer.other}")
        if dry_run:
            if as_json:
                output.json_document({"models": plans, "frees_bytes": frees})
                return
            for plan in plans:
                what = "forgets" if plan.model.external else "deletes" if now else "trashes"
                output.line(f"{what} {plan.model.name}")
                if plan.model.external:
                    output.narrate(f"its files stay at {plan.model.path}")
            if not all(plan.model.external for plan in plans):
                output.narrate(_frees(frees, now=now))
            return
        names = ", ".join(plan.model.name for plan in plans)
        if now and plans:
            question = f"delete {names} for good ({byte_size(frees)})?"
            if not consent_by(yes=yes)(question):
                raise Cancelled("stopped; nothing was removed")
        elif plans and not yes and sys.stdin.isatty():
            size = byte_size(sum(plan.model.size_bytes for plan in plans))
            click.confirm(f"remove {printable(names)} ({size})?", abort=True, err=True)
        removed = [*ended, *remove(library, [plan.model.name for plan in plans], now=now)]
        frees += sum(one.frees_bytes for one in ended)
    if as_json:
        output.json_document({"removed": removed, "frees_bytes": frees, "deleted": now})
        return
    for one in removed:
        if one.model.external:
            output.narrate(f"forgot {one.model.name}; its files stay at {one.model.path}")
        elif one.trash_id is None:
            output.narrate(f"forgot {one.model.name}, whose files were gone")
        elif now:
            output.narrate(f"deleted {one.model.name}")
        else:
            name = one.model.name
            output.narrate(f"{name} is in the trash; bring it back with: localq restore {name}")
    if any(one.trash_id is not None for one in removed):
        output.narrate(_frees(frees, now=now))


def _frees(size: int, *, now: bool) -> str:
    if size == 0:
        return "that frees nothing: others have the same files"
    if now:
        return f"{byte_size(size)} freed"
    return f"localq trash empty frees {byte_size(size)}"
