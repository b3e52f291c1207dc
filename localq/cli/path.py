"""`localq path [MODEL]`"""

from __future__ import annotations

import click

from localq.cli import output
from localq.cli.options import json_option, optional_model
from localq.library import Library

__all__ = ["command"]


@click.command()
@optional_model
@click.option("--checkpoint", is_flag=True, help="The checkpoint's folder, though quantized.")
@json_option
def command(model: str | None, checkpoint: bool, as_json: bool) -> None:
    """Print the absolute path of MODEL and nothing else, for scripts and LangChain.

    Where MODEL has been quantized that is the GGUF used last, else the checkpoint's folder.
    """
    from localq.services.library.locate import locate_checkpoint_folder, locate_path

    with Library() as library:
        find = locate_checkpoint_folder if checkpoint else locate_path
        path = find(library, model)
    if as_json:
        output.json_document({"path": path})
    else:
        output.path(path)
