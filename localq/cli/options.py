"""Options that several verbs take, worded once."""

from __future__ import annotations

import click

__all__ = ["json_option", "optional_model"]

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document instead of text."
)
optional_model = click.argument("model", required=False)
