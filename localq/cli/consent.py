"""Asking before something is downloaded or run."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from localq.cli import output
from localq.display import printable
from localq.errors import UsageError
from localq.messages import msg

__all__ = ["consent_by"]


def consent_by(*, yes: bool) -> Callable[[str], bool]:
    """How to ask the person in front of the terminal; UsageError where there is none."""

    def consent(question: str) -> bool:
        if yes:
            output.narrate(msg("{question} Yes, as --yes says.", question=question))
            return True
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError(
                msg("this needs your consent: {question}", question=question),
                hint=msg("agree beforehand with --yes"),
            )
        return click.confirm(printable(question), err=True)

    return consent
