"""`localq fit MODEL`"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option
from localq.cli.progress import ProgressDisplay
from localq.display import byte_size, short_count
from localq.library import Library
from localq.messages import msg
from localq.services.quality.in_words import quality_in_words

if TYPE_CHECKING:
    from localq.services.fit.fit import FitResult, FitRow, RelatedRepo

__all__ = ["command", "show"]

_ABOUT = "~"
_MATRIX = "\N{DAGGER}"
_MOST_QUANTS = 12


@click.command()
@click.argument("model", metavar="REPO[@REVISION]|MODEL|PATH")
@click.option("--ctx", "n_ctx", type=int, help="Tokens of context; else what is useful and fits.")
@click.option("--kv", "type_kv", default="f16", show_default=True, help="Type of the context.")
@click.option("--all", "every", is_flag=True, help="Every type, not only those people choose.")
@click.option("--no-sisters", is_flag=True, help="Do not look for ready-made files elsewhere.")
@json_option
def command(
    model: str, n_ctx: int | None, type_kv: str, every: bool, no_sisters: bool, as_json: bool
) -> None:
    """Show how large a model is in each type, what memory it takes and where it would run.

    Of a model on the Hugging Face Hub only the headers and small files are read. BYTES is the size
    of the file, exact for what localq makes; BITS those of a weight; MEMORY what running it takes
    with CTX tokens of context; ROOM what that leaves, or below 0 what is lacking. The recommended
    type is marked with *.
    """
    from localq.services.fit.fit import FitRequest, fit, parse_cache_type

    request = FitRequest(model, n_ctx, parse_cache_type(type_kv), every, not no_sisters)
    with (
        Library() as library,
        cancel_on_interrupt() as cancel,
        ProgressDisplay(quiet=as_json) as emit,
    ):
        result = fit(library, request, emit, cancel)
    if as_json:
        document = output.to_json(result)
        document["sisters"] = document.pop("related")  # the name that programs know
        output.json_document(document)
        return
    show(result)


def show(result: FitResult) -> None:
    """The result for people."""
    for label, value in _about(result):
        output.field(label, value, 13)
    output.line("")
    output.table(
        (
            "",
            msg("TYPE"),
            msg("BYTES"),
            msg("BITS"),
            msg("CTX"),
            _right(msg("MEMORY")),
            msg("RUNS ON"),
            _right(msg("ROOM")),
        ),
        map(_row, result.rows),
    )
    for line in _legend(result.rows):
        output.line(line)
    output.line("")
    if result.recommended is not None:
        output.line(
            msg("* {recommended}: {reason}", recommended=result.recommended, reason=result.reason)
        )
    else:
        output.line(f"{result.reason}{_instead(result)}")
    if result.related:
        output.line("")
        output.line("ready-made:")
        for repo in result.related:
            output.line(msg("  {related}", related=_related(repo)))
    if result.measured:
        output.line("")
        output.line(msg("measured:"))
        for card in result.measured:
            output.line(
                msg("  {quant}: {quality}", quant=card.quant, quality=quality_in_words(card))
            )
    for warning in result.warnings:
        output.warn(warning)
    output.narrate(msg("next: {command}", command=result.command))


def _about(result: FitResult) -> Iterator[tuple[str, str]]:
    yield msg("model"), result.model
    yield (
        msg("architecture"),
        msg(
            "{architecture}, {short_count} parameters",
            architecture=result.architecture,
            short_count=short_count(result.parameters),
        ),
    )
    if result.trained_ctx:
        yield (
            msg("trained for"),
            msg("{trained_ctx:,} tokens of context", trained_ctx=result.trained_ctx),
        )
    if result.licence:
        yield msg("licence"), result.licence
    if result.repo is not None:
        read, total = byte_size(result.fetched_bytes), byte_size(result.total_bytes)
        yield msg("read"), msg("{read} of {total}", read=read, total=total)


def _row(row: FitRow) -> tuple[str, ...]:
    about = "" if row.exact_memory else _ABOUT
    return (
        "*" if row.recommended else "",
        f"{row.quant} {_MATRIX}" if row.needs_imatrix else row.quant,
        f"{'' if row.exact_size else _ABOUT}{row.size_bytes:,}",
        f"{row.bits_per_weight:.2f}",
        str(row.n_ctx),
        _right(f"{about}{byte_size(row.memory_bytes)}"),
        _place(row),
        _right(_room(row)),
    )


def _place(row: FitRow) -> str:
    match row.where.value:
        case "gpu":
            return msg("GPU")
        case "gpu+cpu" if row.cpu_moe:
            return msg(
                "GPU+CPU {gpu_layers}/{layers} e{cpu_moe}",
                gpu_layers=row.gpu_layers,
                layers=row.layers,
                cpu_moe=row.cpu_moe,
            )
        case "gpu+cpu":
            return msg(
                "GPU+CPU {gpu_layers}/{layers}", gpu_layers=row.gpu_layers, layers=row.layers
            )
        case "cpu":
            return msg("CPU")
    return "no"


def _legend(rows: Sequence[FitRow]) -> Iterator[str]:
    if split := next((row for row in rows if row.where.value == "gpu+cpu"), None):
        n, m = split.gpu_layers, split.layers
        yield msg("GPU+CPU {n}/{m}: {n} of {m} layers on the GPU, the others in memory", n=n, m=m)
    if moe := next((row for row in rows if row.cpu_moe and row.where.value != "no"), None):
        yield msg("e{cpu_moe}: the experts of {cpu_moe} layers in memory", cpu_moe=moe.cpu_moe)
    if any(row.needs_imatrix for row in rows):
        yield msg("{matrix} needs an importance matrix, which localq imatrix makes", matrix=_MATRIX)


def _room(row: FitRow) -> str:
    if row.room_bytes is None:
        return "unknown"
    return byte_size(row.room_bytes)


def _right(text: str) -> str:
    return f"{text:>9}"


def _instead(result: FitResult) -> str:
    if result.smaller is None:
        return ""
    return msg("; a model of {smaller:g}B parameters would fit as Q4_K_M", smaller=result.smaller)


def _related(related: RelatedRepo) -> str:
    if related.quant:
        return msg(
            "{command}  ({size_bytes})",
            command=related.command,
            size_bytes=byte_size(related.size_bytes),
        )
    quants = list(related.quants)
    more = " ..." if len(quants) > _MOST_QUANTS else ""
    return msg(
        "{repo} has {quants}{more}",
        repo=related.repo,
        quants=", ".join(quants[:_MOST_QUANTS]),
        more=more,
    )
