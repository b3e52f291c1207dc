"""`localq doctor [--repair]`, `localq doctor --template MODEL`"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option
from localq.cli.progress import ProgressDisplay
from localq.errors import LibraryError, UsageError
from localq.library import Library
from localq.messages import listed, msg

if TYPE_CHECKING:
    from localq.services.doctor.template import Comparison

__all__ = ["command"]


@click.command()
@click.option("--repair", is_flag=True, help="Mend what can be mended; nothing wanted is deleted.")
@click.option(
    "--template",
    "model",
    metavar="MODEL",
    help="Compare MODEL's chat template and token ids with its checkpoint's own tokenizer.",
)
@click.option(
    "--against",
    metavar="FOLDER",
    help="The checkpoint to compare with, where the library does not have it.",
)
@json_option
def command(repair: bool, model: str | None, against: str | None, as_json: bool) -> None:
    """Look for files without a model, models without files, work cut off, and the like.

    Says what --repair would do about each. Exit code 1 if anything is amiss afterwards.
    """
    if model is not None:
        if repair:
            raise UsageError(msg("--repair mends the library, not a model's template"))
        _template(model, against, as_json)
        return
    if against is not None:
        raise UsageError(msg("--against goes with --template MODEL"))
    _library(repair, as_json)


def _template(model: str, against: str | None, as_json: bool) -> None:
    from localq.services.doctor.template import compare_templates

    with Library() as library, cancel_on_interrupt() as cancel:
        report = compare_templates(library, model, against, cancel)
    differ = sum(comparison.difference is not None for comparison in report.comparisons)
    if as_json:
        output.json_document({"clean": report.clean, **asdict(report)})
    else:
        for group in _alike(report.comparisons):
            _show(group)
        for what in report.not_compared:
            output.narrate(msg("not compared: {what}", what=what))
        output.narrate(
            msg(
                "{same} of {count} comparisons are the same",
                same=len(report.comparisons) - differ,
                count=len(report.comparisons),
            )
            if report.comparisons
            else msg("nothing could be compared")
        )
    if differ:
        raise LibraryError(
            msg("{model}: {differ} comparisons differ", model=report.model, differ=differ)
        )


def _alike(comparisons: Iterable[Comparison]) -> Iterable[list[Comparison]]:
    """Comparisons of which the same is to be said, together."""
    groups: dict[str, list[Comparison]] = {}
    for one in comparisons:
        if said := one.cause or one.difference or one.note:
            groups.setdefault(said, []).append(one)
    return groups.values()


def _show(group: list[Comparison]) -> None:
    first = group[0]
    where = listed([one.what_of_template for one in group])
    output.line(msg("{what}:", what=where))
    for said in (first.cause, first.difference, first.note, first.advice):
        if said:
            output.line(msg("  {said}", said=said))


def _library(repair: bool, as_json: bool) -> None:
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
