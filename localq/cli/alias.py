"""`localq alias MODEL NAME`"""

from __future__ import annotations

import click

from localq.cli import output
from localq.cli.options import json_option
from localq.library import Library
from localq.messages import msg

__all__ = ["command"]


@click.command()
@click.argument("model")
@click.argument("name", required=False)
@click.option("--remove", is_flag=True, help="Take the name away again.")
@json_option
def command(model: str, name: str | None, remove: bool, as_json: bool) -> None:
    """Let NAME mean MODEL wherever a model is named. Without NAME: what it is called."""
    with Library() as library:
        found = library.find(model)
        if name is not None and remove:
            found = library.labels.remove_alias(found.name, name)
        elif name is not None:
            found = library.labels.add_alias(found.name, name)
    if as_json:
        output.json_document(found)
    elif name is None:
        for alias in found.aliases:
            output.line(alias)
    else:
        called = ", ".join(found.aliases) or "nothing else"
        output.narrate(msg("{name} is called {called}", name=found.name, called=called))
