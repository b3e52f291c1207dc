"""`localq path [MODEL]`"""

from __future__ import annotations

import click

from localq.cli import output
from localq.cli.options import json_option, optional_model
from localq.library import Library

__all__ = ["command"]


@click.command()
@optional_model
@json_option
def command(model: str | None, as_json: bool) -> None:
    """Print the absolute path of MODEL and nothing else, for scripts and LangChain.

    Where MODEL has been quantized that is the GGUF used last, else the checkpoint's folder.
    """
    from localq.services.library.locate import locate_path

    with Library() as library:
        path = locate_path(library, model)
    if as_json:
        output.json_document({"path": path})
    else:
        click.echo(str(path))
