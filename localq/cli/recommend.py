"""`localq recommend [MODEL]`"""

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
@click.option(
    "--use",
    type=click.Choice(["production", "research", "personal"]),
    default="personal",
    show_default=True,
    help="What it is for: many people, experiments, or yourself.",
)
@click.option(
    "--priority",
    type=click.Choice(["quality", "speed", "size"]),
    default="quality",
    show_default=True,
    help="What goes first.",
)
@click.option(
    "--hardware",
    type=click.Choice(["cpu", "gpu", "hybrid"]),
    help="For another machine than this one; hybrid: a GPU that holds a part of the model.",
)
@json_option
def command(
    model: str | None, use: str, priority: str, hardware: str | None, as_json: bool
) -> None:
    """Say how to quantize MODEL for this machine: method, format, library, and why.

    What `localq eval` measured with files of the same model goes before the rules.
    """
    from localq.planning.method_choice import Hardware, Priority, Use
    from localq.services.quality.recommend import RecommendRequest, recommend

    request = RecommendRequest(
        model, Use(use), Priority(priority), Hardware(hardware) if hardware else None
    )
    with Library() as library, cancel_on_interrupt() as cancel:
        found = recommend(library, request, cancel)
    if as_json:
        output.json_document(found)
        return
    choice = found.choice
    output.line(
        msg(
            "{hardware}, {use} use, {priority} first",
            hardware=found.hardware.value,
            use=found.use.value,
            priority=found.priority.value,
        )
    )
    output.field(msg("method"), choice.method, 11)
    output.field(msg("format"), choice.format, 11)
    output.field(msg("library"), choice.library, 11)
    for number, advantage in enumerate(choice.advantages):
        output.field("" if number else msg("advantages"), advantage, 11)
    output.field(msg("reason"), choice.reason, 11)
    if measured := found.measured:
        output.field(msg("but take"), measured.model, 11)
        output.field("", measured.reason, 11)
    output.field(msg("next"), found.command, 11)
