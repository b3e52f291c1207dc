"""`localq search WORDS`"""

from __future__ import annotations

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option
from localq.cli.progress import ProgressDisplay
from localq.display import short_count
from localq.messages import msg

__all__ = ["command"]


@click.command()
@click.argument("words", nargs=-1, required=True)
@click.option("--gguf", is_flag=True, help="Only repositories with GGUF files, ready to run.")
@click.option(
    "--sort",
    type=click.Choice(["downloads", "likes", "recent"]),
    default="downloads",
    show_default=True,
    help="What comes first.",
)
@click.option("--limit", type=int, default=20, show_default=True, help="How many to show.")
@json_option
def command(words: tuple[str, ...], gguf: bool, sort: str, limit: int, as_json: bool) -> None:
    """Find models on the Hugging Face Hub by words of their names.

    PARAMETERS are those of its weights, else what the name says. A gated model asks you to accept
    its terms first.
    """
    from localq.services.pull.search import SearchOrder, SearchRequest, search

    request = SearchRequest(" ".join(words), gguf, SearchOrder(sort), limit)
    with cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
        result = search(request, emit, cancel)
    if as_json:
        output.json_document(result)
        return
    if not result.models:
        output.narrate(msg("nothing found; try fewer or shorter words"))
        return
    output.table(
        (
            msg("NAME"),
            msg("PARAMETERS"),
            msg("LICENCE"),
            msg("DOWNLOADS"),
            msg("LIKES"),
            msg("UPDATED"),
            msg("ACCESS"),
        ),
        (
            (
                model.repo,
                model.size_class,
                model.licence,
                short_count(model.downloads),
                short_count(model.likes),
                model.updated,
                "gated" if model.gated else "",
            )
            for model in result.models
        ),
    )
    first = result.models[0]
    output.narrate(
        msg(
            "get one with: localq pull {repo}{word}",
            repo=first.repo,
            word=(":QUANT" if gguf else ""),
        )
    )
