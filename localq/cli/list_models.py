"""`localq list`"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click

from localq.cli import output
from localq.cli.options import json_option
from localq.database import Database
from localq.display import byte_size, short_count
from localq.library import Library, Model
from localq.messages import msg
from localq.quality.cards import QualityCard, QualityCards

__all__ = ["command"]

_SORTS: Mapping[str, Callable[[Model], object]] = {
    "name": lambda model: model.name.casefold(),
    "size": lambda model: -model.size_bytes,
    "parameters": lambda model: -model.parameters,
    "used": lambda model: -model.used_at,
    "created": lambda model: -model.created_at,
}


@click.command(name="list")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only models that have it.")
@click.option(
    "--sort",
    type=click.Choice(list(_SORTS)),
    default="name",
    show_default=True,
    help="In which order: the largest, and the latest, come first.",
)
@json_option
def command(tags: tuple[str, ...], sort: str, as_json: bool) -> None:
    """List the models of the library."""
    with Library() as library:
        models = library.models()
        cards = QualityCards(Database(library.paths.database)).latest() if models else {}
    wanted = {tag.casefold() for tag in tags}
    shown = [model for model in models if wanted.issubset(model.tags)]
    if sort != "name":
        shown.sort(key=_SORTS[sort])  # type: ignore[arg-type]  # each gives one kind of key
    if as_json:
        output.json_document(shown)
    elif not models:
        output.narrate(msg("no models yet; get one with: localq pull"))
    elif not shown:
        output.narrate(msg("no model is tagged {tags}", tags=" and ".join(tags)))
    else:
        _table(shown, cards)


def _table(models: Sequence[Model], cards: Mapping[Path, QualityCard]) -> None:
    columns: list[tuple[str, Callable[[Model], str]]] = [
        ("NAME", lambda model: model.name),
        ("QUANT", lambda model: model.quant),
        ("PARAMETERS", lambda model: short_count(model.parameters)),
        ("SIZE", lambda model: byte_size(model.size_bytes)),
        ("ARCHITECTURE", _architecture),
    ]
    # Columns for what few libraries have come only where there is something to show.
    if any(model.aliases for model in models):
        columns.append(("CALLED", lambda model: ", ".join(model.aliases)))
    if any(model.tags for model in models):
        columns.append(("TAGS", lambda model: ", ".join(model.tags)))
    if any(model.path in cards for model in models):
        columns.append(("PERPLEXITY", lambda model: _perplexity(cards.get(model.path))))
    if any((card := cards.get(model.path)) and card.kld for model in models):
        columns.append(("KLD", lambda model: _kld(cards.get(model.path))))
    if any(model.external for model in models):
        columns.append(("PLACE", lambda model: "elsewhere" if model.external else ""))
    output.table(
        [heading for heading, _ in columns],
        ([cell(model) for _, cell in columns] for model in models),
    )


def _architecture(model: Model) -> str:
    return f"{model.architecture} (LoRA)" if model.format.value == "adapter" else model.architecture


def _perplexity(card: QualityCard | None) -> str:
    return f"{card.perplexity.value:.2f}" if card else ""


def _kld(card: QualityCard | None) -> str:
    return f"{card.kld.value:.4f}" if card and card.kld else ""
