"""`localq engine check`"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from localq.cli import output
from localq.cli.options import json_option
from localq.display import printable
from localq.errors import EngineError
from localq.messages import msg
from localq.paths import Paths

if TYPE_CHECKING:
    from localq.services.machine.engine import EngineCheck

__all__ = ["command", "lines"]


@click.group()
def command() -> None:
    """llama.cpp as it is installed here."""


@command.command(short_help="Show how the engine was tried, and what came of it.")
@click.option("--again", is_flag=True, help="Try it now, whatever is known.")
@json_option
def check(again: bool, as_json: bool) -> None:
    """Show how a small model with known answers fared on this processor: as the engine was built,
    and, where that did not work, in safer ways. The first that works is used for every model.

    This happens by itself before an engine is first used, and after every change of engine,
    processor or system. Exit code 1 if nothing works.
    """
    from localq.services.machine.engine import check_engine

    found = check_engine(Paths.from_environment(), again=again)
    if as_json:
        output.json_document(found)
    else:
        for line in lines(found):
            output.line(line)
    if found.mode is None:
        text = found.finding.text if found.finding else msg("the engine could not be tried")
        raise EngineError(text)


def lines(found: EngineCheck) -> Iterator[str]:
    """The check for people."""
    version = (
        msg("llama-cpp-python {version}", version=found.version)
        if found.version
        else msg("none is installed")
    )
    yield f"{output.padded(msg('engine'), 12)} {printable(version)}"
    if verdict := found.verdict:
        yield f"{output.padded(msg('libraries'), 12)} {verdict.libraries}"
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(verdict.checked_at))
        yield f"{output.padded(msg('checked'), 12)} {when}"
        for one in verdict.tries:
            detail = f"{one.outcome}: {one.detail}"
            yield f"  {one.mode:<22} {detail}, {one.seconds:.1f} s"
    if found.mode:
        how = msg(" (LOCALQ_ENGINE_MODE says so)") if found.chosen else ""
        loaded = printable(_LOADED.get(found.mode, found.mode)) + printable(how)
        yield f"{output.padded(msg('loaded'), 12)} {loaded}"
    if found.finding:
        yield ""
        yield msg("! {text}", text=found.finding.text)
        if found.finding.command:
            yield msg("  try: {command}", command=found.finding.command)
        if found.finding.otherwise:
            yield msg("   or: {otherwise}", otherwise=found.finding.otherwise)


_LOADED = {"default": msg("as it was built")}
