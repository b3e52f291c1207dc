"""Asking before something is downloaded or run."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from localq.cli import output
from localq.display import printable
from localq.errors import UsageError

__all__ = ["consent_by"]


def consent_by(*, yes: bool) -> Callable[[str], bool]:
    """How to ask the person in front of the terminal; UsageError where there is none."""

    def consent(question: str) -> bool:
        if yes:
            output.narrate(f"{question} Yes, as --yes says.")
            return True
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError(
                f"this needs your consent: {question}", hint="agree beforehand with --yes"
            )
        return click.confirm(printable(question), err=True)

    return consent
