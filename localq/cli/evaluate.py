"""`localq eval MODEL...`"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import chunk_options, json_option, text_option
from localq.cli.progress import ProgressDisplay
from localq.display import byte_size, duration
from localq.errors import UsageError
from localq.library import Library
from localq.messages import msg

if TYPE_CHECKING:
    from localq.quality.results import Divergence, Estimate, EvaluatedModel, Evaluation

__all__ = ["command"]

_COMPARED = (msg("CHANGE"), msg("KL DIVERGENCE"), msg("SAME TOP"))


@click.command(name="eval")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@text_option
@click.option("--against", metavar="BASE", help="The model to compare with: best the F16 file.")
@chunk_options
@click.option(
    "--until",
    metavar="PERCENT",
    help="Stop as soon as each perplexity's standard error is so small a part of it, such as 1%.",
)
@click.option(
    "--rounded",
    is_flag=True,
    help="Compare with BASE's probabilities in 16 bits, as llama-perplexity's files hold them.",
)
@json_option
def command(
    models: tuple[str, ...],
    text: str,
    against: str | None,
    n_ctx: int,
    chunks: int | None,
    until: str | None,
    rounded: bool,
    as_json: bool,
) -> None:
    """Measure how well MODELs foretell a text: perplexity, and how far they are from BASE.

    The figures are llama-perplexity's: lower perplexity is better, and a KL divergence of 0 means
    the very predictions of BASE. Files of logits are not needed: BASE and the others read each
    chunk together.
    """
    from localq.services.jobs.jobs import recorded
    from localq.services.jobs.kinds.evaluate import EvaluateKind
    from localq.services.quality.evaluate import EvaluateRequest
    from localq.services.quality.wikitext import WIKITEXT2

    file = None if text == WIKITEXT2 else Path(text)
    request = EvaluateRequest(models, file, against, n_ctx, chunks, _share(until), rounded)
    with Library() as library, cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
        found = recorded(EvaluateKind(), library, request, emit, cancel)
    if as_json:
        output.json_document(found)
        return
    _show(found)


def _share(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return float(text.removesuffix("%")) / 100
    except ValueError:
        raise UsageError(
            msg("--until {text}: it is a number of percent, such as 1%", text=text)
        ) from None


def _show(found: Evaluation) -> None:
    first = found.models[0]
    output.line(
        msg(
            "{text}: {tokens:,} tokens scored, in {chunks:,} chunks of {n_ctx:,} ({seconds})",
            text=found.text.name,
            tokens=first.tokens,
            chunks=first.chunks,
            n_ctx=found.n_ctx,
            seconds=duration(found.seconds),
        )
    )
    output.line(
        msg("{machine}; {engine}", machine=found.machine, engine=found.engine),
    )
    output.line("")
    compared = any(model.divergence for model in found.models)
    output.table(
        (msg("MODEL"), msg("SIZE"), msg("PERPLEXITY"), *(_COMPARED if compared else ())),
        (
            (
                model.model,
                byte_size(model.size_bytes),
                _pair(model.perplexity, 4),
                *(_compared(model) if compared else ()),
            )
            for model in found.models
        ),
    )
    for model in found.models:
        if model.divergence:
            output.line("")
            _details(model, model.divergence)


def _compared(model: EvaluatedModel) -> Iterable[str]:
    if (one := model.divergence) is None:
        return ("", "", "")
    return (
        f"{100 * (one.ratio.value - 1):+.2f} %",
        _pair(one.kld, 6),
        f"{100 * one.same_top.value:.2f} %",
    )


def _details(model: EvaluatedModel, one: Divergence) -> None:
    output.line(msg("{model} against {base}", model=model.model, base=one.base))
    spread, change = one.kld_spread, one.p_change_spread
    percent = 100
    rows = (
        (msg("KL divergence"), _pair(one.kld, 6)),
        (
            "",
            msg(
                "median {median:.6f}, 90 % {p90:.6f}, 95 % {p95:.6f}",
                median=spread.median,
                p90=spread.p90,
                p95=spread.p95,
            ),
        ),
        (
            "",
            msg(
                "99 % {p99:.6f}, 99.9 % {p99_9:.6f}, maximum {maximum:.6f}",
                p99=spread.p99,
                p99_9=spread.p99_9,
                maximum=spread.maximum,
            ),
        ),
        (msg("same top token"), _pair(one.same_top, 3, percent) + " %"),
        (msg("probability"), _pair(one.p_change, 3, percent) + " %" + msg(" (mean change)")),
        ("", _pair(one.p_change_rms, 3, percent) + " %" + msg(" (RMS)")),
        (
            "",
            msg(
                "from {least:.2f} % to {most:.2f} %",
                least=percent * change.minimum,
                most=percent * change.maximum,
            ),
        ),
        (msg("perplexity"), _pair(one.ratio, 6) + msg(" times the base's")),
        ("", _pair(one.difference, 4, sign="+") + msg(" (difference)")),
    )
    for label, value in rows:
        output.field(label, value, 15)


def _pair(estimate: Estimate, digits: int, factor: int = 1, sign: str = "") -> str:
    return f"{factor * estimate.value:{sign}.{digits}f} ± {factor * estimate.error:.{digits}f}"
