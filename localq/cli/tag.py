"""`localq tag MODEL +TAG -TAG`"""

from __future__ import annotations

import click

from localq.cli import output
from localq.cli.options import json_option
from localq.errors import UsageError
from localq.library import Library
from localq.messages import msg

__all__ = ["command"]


@click.command(
    context_settings={"ignore_unknown_options": True},  # -TAG is none
)
@click.argument("model")
@click.argument("changes", nargs=-1, metavar="[+TAG|-TAG]...", type=click.UNPROCESSED)
@json_option
def command(model: str, changes: tuple[str, ...], as_json: bool) -> None:
    """Add tags (+TAG) to MODEL and take tags (-TAG) away; `localq list --tag TAG` looks for them.

    Without changes: the tags it has.
    """
    for change in changes:
        if change[:1] not in ("+", "-") or change.startswith("--"):
            raise UsageError(
                msg("{change!r} says neither + nor -", change=change),
                hint=msg("localq tag {model} +{change}", model=model, change=change.lstrip("-")),
            )
    with Library() as library:
        found = library.find(model)
        if changes:
            found = library.labels.change_tags(
                found.name,
                add=[change[1:] for change in changes if change[0] == "+"],
                remove=[change[1:] for change in changes if change[0] == "-"],
            )
    if as_json:
        output.json_document(found)
        return
    for tag in found.tags:
        output.line(tag)
