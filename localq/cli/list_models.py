"""`localq list`"""

from __future__ import annotations

import click

from localq.cli import output
from localq.cli.options import json_option
from localq.library import Library

__all__ = ["command"]


@click.command(name="list")
@json_option
def command(as_json: bool) -> None:
    """List the models of the library."""
    with Library() as library:
        models = library.models()
    if as_json:
        output.json_document(models)
    elif not models:
        output.narrate("no models yet; get one with: localq pull")
    else:
        output.table(
            ("NAME", "QUANT", "PARAMETERS", "SIZE", "ARCHITECTURE"),
            (
                (
                    model.name,
                    model.quant,
                    output.count(model.parameters),
                    output.byte_count(model.size_bytes),
                    model.architecture,
                )
                for model in models
            ),
        )
