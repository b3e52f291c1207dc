"""Whether the engine works on this machine as it was built."""

from __future__ import annotations

from collections.abc import Iterator

from localq.messages import msg
from localq.services.doctor.doctor import CheckContext, Problem
from localq.services.machine.engine import check_engine

__all__ = ["broken"]


def broken(context: CheckContext) -> Iterator[Problem]:
    """An engine that crashes, hangs or computes nonsense, or that is not there."""
    finding = check_engine(context.library.paths).finding
    if finding:
        yield Problem(finding.text, msg("mend it: {command}", command=finding.command))
