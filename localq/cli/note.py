"""`localq note MODEL [TEXT]`"""

from __future__ import annotations

import click

from localq.cli import output
from localq.cli.options import json_option
from localq.library import Library

__all__ = ["command"]


@click.command()
@click.argument("model")
@click.argument("text", required=False)
@json_option
def command(model: str, text: str | None, as_json: bool) -> None:
    """Write TEXT down about MODEL; an empty TEXT takes it away. Without TEXT: what is written."""
    with Library() as library:
        found = library.find(model)
        if text is not None:
            found = library.labels.set_note(found.name, text)
    if as_json:
        output.json_document(found)
    elif text is None and found.note:
        output.line(found.note)
