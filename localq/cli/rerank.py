"""`localq rerank MODEL QUERY [DOCUMENT...]`"""

from __future__ import annotations

from typing import Any

import click

from localq.cli import output
from localq.cli.given_texts import given_texts
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option
from localq.cli.plan_options import plan_options, plan_options_from
from localq.cli.progress import ProgressDisplay
from localq.library import Library
from localq.messages import msg

__all__ = ["command"]


@click.command()
@click.argument("model")
@click.argument("query")
@click.argument("documents", nargs=-1, metavar="[DOCUMENT]...")
@click.option("--file", metavar="FILE|-", help="Each line of FILE, or of stdin, is a document.")
@click.option("--top", type=click.IntRange(1), help="Show only the N best.")
@click.option("--truncate", is_flag=True, help="Cut what is too long, instead of refusing it.")
@plan_options
@click.option("--force", is_flag=True, help="Try even where the model cannot fit.")
@json_option
def command(
    model: str,
    query: str,
    documents: tuple[str, ...],
    file: str | None,
    top: int | None,
    truncate: bool,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Order each DOCUMENT by how well it answers QUERY, as MODEL sees it: one made to rerank, by
    its name or as a .gguf file."""
    from localq.services.embed.rerank import RerankRequest, rerank

    request = RerankRequest(
        model,
        query,
        given_texts(documents, file),
        top=top,
        truncate=truncate,
        plan_options=plan_options_from(**options),
        force=force,
    )
    with Library() as library, cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
        result = rerank(library, request, emit, cancel)
    if as_json:
        output.json_document(result)
        return
    output.table(
        (msg("score"), "#", msg("document")),
        ((f"{one.score:.4f}", str(one.index + 1), one.document) for one in result.results),
    )
