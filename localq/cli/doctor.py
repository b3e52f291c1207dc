"""`localq doctor [--repair]`"""

from __future__ import annotations

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option
from localq.cli.progress import ProgressDisplay
from localq.errors import LibraryError
from localq.library import Library
from localq.messages import msg

__all__ = ["command"]


@click.command()
@click.option("--repair", is_flag=True, help="Mend what can be mended; nothing wanted is deleted.")
@json_option
def command(repair: bool, as_json: bool) -> None:
    """Look for files without a model, models without files, work cut off, and the like.

    Says what --repair would do about each. Exit code 1 if anything is amiss afterwards.
    """
    from localq.services.doctor.doctor import doctor

    with Library() as library, cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
        result = doctor(library, emit, cancel, repair=repair)
    if as_json:
        output.json_document({"healthy": result.healthy, "findings": result.findings})
    else:
        for finding in result.findings:
            output.line(finding.problem)
            if finding.repaired:
                output.line(msg("  repaired: {remedy}", remedy=finding.remedy))
            elif finding.repairable:
                output.line(msg("  --repair {remedy}", remedy=finding.remedy))
            else:
                output.line(msg("  {remedy}", remedy=finding.remedy))
        if not result.findings:
            output.narrate(msg("all is well"))
    left = [finding for finding in result.findings if not finding.repaired]
    if left:
        repairable = any(finding.repairable and not finding.failure for finding in left)
        raise LibraryError(
            msg(
                "{left} {word} amiss",
                left=len(left),
                word=(msg("thing is") if len(left) == 1 else msg("things are")),
            ),
            hint="localq doctor --repair" if repairable and not repair else None,
        )
