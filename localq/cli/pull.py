"""`localq pull [REPO]`"""

from __future__ import annotations

import sys

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option
from localq.cli.progress import ProgressDisplay
from localq.library import Library

__all__ = ["command"]


@click.command(short_help="Download a model from the Hugging Face Hub.")
@click.argument("spec", required=False, metavar="[REPO[@REVISION][:QUANT]]")
@json_option
def command(spec: str | None, as_json: bool) -> None:
    """Download a model from the Hugging Face Hub into the library.

    REPO is a checkpoint such as HuggingFaceTB/SmolLM2-135M-Instruct; REPO:Q4_K_M fetches a ready
    GGUF; `demo` is a tiny model that comes with localq. Without REPO: the model that localq.toml
    in this folder names, else one that fits this machine.
    """
    from localq.services.pull import PullRequest, pull

    with Library() as library:
        if spec is None and not as_json and sys.stdin.isatty() and sys.stderr.isatty():
            spec = _choose(library)
        with cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
            result = pull(library, PullRequest(spec), emit, cancel)
    if as_json:
        output.json_document(result)
        return
    if result.already_there:
        output.narrate("complete and unchanged; nothing to download")
    output.line(result.model.name)


def _choose(library: Library) -> str | None:
    """Ask which of the models that fit this machine to take; None where there is no choice."""
    from localq.services.pull import choices, recipe_here

    if recipe_here() is not None:
        return None
    offered = choices(library)
    if not offered:
        return None
    default = next((i for i, choice in enumerate(offered, 1) if choice.recommended), 1)
    output.narrate("models that fit this machine:")
    for i, choice in enumerate(offered, 1):
        mark = "*" if i == default else " "
        size = output.byte_count(choice.download_bytes)
        output.narrate(
            f" {mark}{i:>2}  {choice.repo:<42} {output.count(choice.parameters):>5} "
            f"{size:>8}  {choice.why}"
        )
    picked: int = click.prompt(
        "which one", default=default, type=click.IntRange(1, len(offered)), err=True
    )
    return offered[picked - 1].repo
