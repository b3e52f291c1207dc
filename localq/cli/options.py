"""Options that several verbs take, worded once."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import click

__all__ = ["chunk_options", "json_option", "optional_model", "text_option"]

P = ParamSpec("P")
R = TypeVar("R")

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document instead of text."
)
optional_model = click.argument("model", required=False)

text_option = click.option(
    "--text",
    default="wikitext2",
    show_default=True,
    metavar="FILE",
    help="What the models are to read: plain text of the kind they will be used for.",
)


def chunk_options(command: Callable[P, R]) -> Callable[P, R]:
    """How a text is read: `n_ctx` tokens in each of so many `chunks`."""
    n_ctx = click.option(
        "--ctx",
        "n_ctx",
        type=click.IntRange(16),
        default=512,
        show_default=True,
        help="Tokens in a chunk.",
    )
    chunks = click.option(
        "--chunks", type=click.IntRange(1), help="Read only so many chunks of the text."
    )
    return n_ctx(chunks(command))
