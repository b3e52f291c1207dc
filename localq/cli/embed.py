"""`localq embed MODEL [TEXT...]`"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, cast

import click

from localq.cli import output
from localq.cli.given_texts import given_texts
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option
from localq.cli.plan_options import plan_options, plan_options_from
from localq.cli.progress import ProgressDisplay
from localq.library import Library
from localq.messages import msg

if TYPE_CHECKING:
    from localq.engine.embedding_requests import Pooling
    from localq.engine.embedding_result import EmbeddedText
    from localq.services.embed.embed import EmbedResult

__all__ = ["command"]

_FEW_TEXTS = 8
"""More would not fit as a table into a terminal."""
_SHOWN_NUMBERS = 4


@click.command()
@click.argument("model")
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--file", metavar="FILE|-", help="Embed each line of FILE, or of stdin.")
@click.option(
    "--pooling",
    type=click.Choice(["mean", "cls", "last", "none"]),
    help="How tokens become a text's vector, instead of the model's own way.",
)
@click.option(
    "--normalize/--no-normalize", default=None, help="Whether vectors get the length 1 (they do)."
)
@click.option("--dimensions", type=click.IntRange(1), help="Only the first N numbers of each.")
@click.option("--truncate", is_flag=True, help="Cut what is too long, instead of refusing it.")
@plan_options
@click.option("--force", is_flag=True, help="Try even where the model cannot fit.")
@json_option
def command(
    model: str,
    texts: tuple[str, ...],
    file: str | None,
    pooling: str | None,
    normalize: bool | None,
    dimensions: int | None,
    truncate: bool,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Turn each TEXT into a vector with MODEL (a name or a .gguf file).

    In a terminal: how alike the texts are. Into a pipe or a file: one line of numbers for each
    text; with --json one document.
    """
    from localq.services.embed.embed import EmbedRequest, embed

    request = EmbedRequest(
        model,
        given_texts(texts, file),
        pooling=cast("Pooling | None", pooling),
        normalize=normalize,
        dimensions=dimensions,
        truncate=truncate,
        plan_options=plan_options_from(**options),
        force=force,
    )
    with Library() as library, cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
        result = embed(library, request, emit, cancel)
    if as_json:
        output.json_document(_document(result), indent=None)
    elif sys.stdout.isatty():
        _overview(result, request.texts)
    else:
        for text in result.texts:
            for row in _rows(text, result.width):
                output.line(" ".join(f"{number:.7g}" for number in row))


def _document(result: EmbedResult) -> dict[str, Any]:
    """`embedding` is a list of numbers; with pooling "none" a list of such lists."""
    embeddings = []
    for index, text in enumerate(result.texts):
        rows = [[float(f"{number:.9g}") for number in row] for row in _rows(text, result.width)]
        embedding = rows if result.pooling == "none" else rows[0]
        embeddings.append({"index": index, "tokens": text.tokens, "embedding": embedding})
    return {
        "model": result.model,
        "pooling": result.pooling,
        "dimensions": result.width,
        "embeddings": embeddings,
    }


def _rows(text: EmbeddedText, width: int) -> list[list[float]]:
    numbers = text.values.tolist()
    return [numbers[start : start + width] for start in range(0, len(numbers), width)]


def _overview(result: EmbedResult, texts: tuple[str, ...]) -> None:
    output.line(
        msg(
            "{count} texts, {width} numbers each, pooling {pooling}",
            count=len(texts),
            width=result.width,
            pooling=result.pooling,
        )
    )
    firsts = [_rows(text, result.width)[0] for text in result.texts]
    many = len(texts) > _FEW_TEXTS or result.pooling == "none"
    compared = [] if many or len(texts) == 1 else firsts
    output.table(
        (
            "",
            msg("tokens"),
            msg("vector"),
            *(str(i + 1) for i in range(len(compared))),
            msg("text"),
        ),
        (
            (
                str(index + 1),
                str(text.tokens),
                " ".join(f"{number:.3f}" for number in first[:_SHOWN_NUMBERS]) + " ...",
                *(f"{_cosine(first, other):.2f}" for other in compared),
                texts[index],
            )
            for index, (text, first) in enumerate(zip(result.texts, firsts, strict=True))
        ),
    )


def _cosine(one: list[float], other: list[float]) -> float:
    lengths = math.hypot(*one) * math.hypot(*other)
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / lengths if lengths else 0.0
