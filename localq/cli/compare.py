"""`localq compare MODEL...`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import chunk_options, json_option, text_option
from localq.cli.progress import ProgressDisplay
from localq.cli.scatter import Point, scatter
from localq.display import byte_size
from localq.errors import storage_errors
from localq.library import Library
from localq.messages import msg
from localq.services.quality.in_words import estimated, verdict

if TYPE_CHECKING:
    from localq.services.quality.compare import ComparedModel, ModelComparison

__all__ = ["command"]

_WIDTH, _HEIGHT = 76, 10


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@text_option
@click.option("--against", metavar="BASE", help="The model to compare with: else the largest.")
@chunk_options
@click.option("--measured", is_flag=True, help="Measure nothing; show what was measured before.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write a report with plots to this file.",
)
@json_option
def command(
    models: tuple[str, ...],
    text: str,
    against: str | None,
    n_ctx: int,
    chunks: int | None,
    measured: bool,
    html: Path | None,
    as_json: bool,
) -> None:
    """Show MODELs side by side: size, memory and speed on this machine, and what quantizing cost
    in quality. What is not known yet is measured first, and kept.
    """
    from localq.services.quality.compare import CompareRequest, compare
    from localq.services.quality.wikitext import WIKITEXT2

    file = None if text == WIKITEXT2 else Path(text)
    request = CompareRequest(models, file, against, n_ctx, chunks, measured)
    with Library() as library, cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
        found = compare(library, request, emit, cancel)
    if html:
        from localq.cli.compare_html import report

        with storage_errors(html):
            html.write_text(report(found), encoding="utf-8")
        output.narrate(msg("the report is in {html}", html=html))
    if as_json:
        output.json_document(found)
        return
    _show(found)


def _show(found: ModelComparison) -> None:
    output.line(found.machine)
    output.line("")
    output.table(
        (msg("MODEL"), msg("TYPE"), msg("SIZE"), msg("MEMORY"), msg("READS"), msg("WRITES")),
        (
            (
                model.model,
                model.quant,
                byte_size(model.size_bytes),
                "" if model.memory_bytes is None else byte_size(model.memory_bytes),
                _speed(model.prompt_speed),
                _speed(model.generate_speed),
            )
            for model in found.models
        ),
    )
    output.line("")
    if not any(model.card for model in found.models):
        output.narrate(msg("no quality was measured yet; leave out --measured"))
        return
    output.table(
        (
            msg("MODEL"),
            msg("PERPLEXITY"),
            msg("CHANGE"),
            msg("KLD"),
            msg("SAME TOP"),
            msg("VERDICT"),
        ),
        (_quality(model) for model in found.models),
    )
    card = next(model.card for model in found.models if model.card)
    output.line(
        msg(
            "measured on {text}, {chunks} chunks of {n_ctx} tokens",
            text=card.text.name,
            chunks=card.chunks,
            n_ctx=card.n_ctx,
        )
    )
    points = [
        Point(model.quant, model.size_bytes, model.card.perplexity.value)
        for model in found.models
        if model.card
    ]
    if len(points) > 1:
        output.line("")
        output.line(msg("perplexity, lower is better"))
        for line in scatter(points, width=_WIDTH, height=_HEIGHT):
            output.line(line)
        smallest = byte_size(min(point.x for point in points))
        largest = byte_size(max(point.x for point in points))
        output.line(msg("size: {smallest} to {largest}", smallest=smallest, largest=largest))


def _quality(model: ComparedModel) -> tuple[str, ...]:
    card = model.card
    if card is None:
        return (model.model, "", "", "", "", msg("not measured"))
    return (
        model.model,
        estimated(card.perplexity),
        "" if model.change is None else f"{100 * model.change:+.2f} %",
        f"{card.kld.value:.5f}" if card.kld else "",
        f"{100 * card.same_top.value:.1f} %" if card.same_top else "",
        verdict(model),
    )


def _speed(speed: float | None) -> str:
    return "" if speed is None else msg("{speed:.1f} tok/s", speed=speed)
