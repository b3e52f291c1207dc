"""`localq rm MODEL`"""

from __future__ import annotations

import sys

import click

from localq.cli import output
from localq.cli.options import json_option
from localq.library import Library

__all__ = ["command"]


@click.command(short_help="Delete a model from the library.")
@click.argument("model")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
def command(model: str, yes: bool, as_json: bool) -> None:
    """Delete MODEL and its files from the library. Files elsewhere are never touched."""
    with Library() as library:
        found = library.find_removable(model)
        if not yes and sys.stdin.isatty():
            size = output.byte_count(found.size_bytes)
            click.confirm(f"delete {output.plain(found.name)} ({size})?", abort=True, err=True)
        removed = library.remove(found.name)
    if as_json:
        output.json_document(removed)
    else:
        freed = output.byte_count(removed.freed_bytes)
        output.narrate(f"deleted {removed.model.name}; {freed} freed")
