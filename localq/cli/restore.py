"""`localq restore MODEL...`"""

from __future__ import annotations

import click

from localq.cli import output
from localq.cli.options import json_option
from localq.library import Library

__all__ = ["command"]


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@json_option
def command(models: tuple[str, ...], as_json: bool) -> None:
    """Bring MODELs back from the trash, with the names, tags and notes they had.

    MODEL is a name, which of several removals means the latest, or a number of `localq trash`.
    """
    from localq.services.library.remove import restore

    with Library() as library:
        restored = restore(library, models)
    if as_json:
        output.json_document(restored)
        return
    for model in restored:
        output.line(model.name)
