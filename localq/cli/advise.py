"""`localq advise [MODEL]`"""

from __future__ import annotations

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option, optional_model
from localq.library import Library
from localq.messages import msg

__all__ = ["command"]


@click.command()
@optional_model
@json_option
def command(model: str | None, as_json: bool) -> None:
    """Say what to do where MODEL disappoints: worse answers, no speed, too much memory.

    Nothing is measured: what is known from eval, bench and plan is looked at, and what is not
    known yet is said.
    """
    from localq.services.quality.advise import advise

    with Library() as library, cancel_on_interrupt() as cancel:
        found = advise(library, model, cancel)
    if as_json:
        output.json_document(found)
        return
    for number, advice in enumerate(found):
        if number:
            output.line("")
        output.line(advice.trouble)
        output.field(msg("  looked at"), advice.looked_at, 12)
        output.field(msg("  found"), advice.found, 12)
        output.field(msg("  do"), advice.command, 12)
