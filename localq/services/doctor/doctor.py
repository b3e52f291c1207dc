"""What is amiss in localq's folders and catalogue, and mending it.

Each check is a function `(CheckContext) -> Iterator[Problem]` in a module of its own, named in
CHECKS; it only looks. What a problem's remedy does runs when the user asks for repairs, and never
deletes what someone may still want: that goes into the trash.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module

from localq.errors import Cancelled, LocalqError
from localq.events import Emit, Note
from localq.library import Library
from localq.messages import msg

__all__ = ["CHECKS", "Check", "CheckContext", "Diagnosis", "DoctorResult", "Problem", "doctor"]

CHECKS: Mapping[str, str] = {
    # name -> module:function; in the order in which they run, for one may clear the way for others
    "engine": "localq.services.doctor.engine:broken",
    "database": "localq.services.doctor.database:damage",
    "unfinished moves": "localq.services.doctor.trash:unfinished",
    "trash": "localq.services.doctor.trash:lost",
    "missing files": "localq.services.doctor.entries:missing",
    "unfinished work": "localq.services.doctor.leftovers:stale",
    "backends": "localq.services.doctor.backends:amiss",
    "orphans": "localq.services.doctor.orphans:unowned",
    "sizes": "localq.services.doctor.entries:drifted",
    "interrupted jobs": "localq.services.doctor.jobs:interrupted",
    "codecs": "localq.services.doctor.codecs:unused",
    "memory": "localq.services.doctor.memory:drifted",
}


@dataclass(frozen=True, slots=True)
class CheckContext:
    """What a check may look at."""

    library: Library
    emit: Emit
    cancel: threading.Event


@dataclass(frozen=True, slots=True)
class Problem:
    """Something amiss. `remedy` says what `repair` would do, or (None) what the user can do."""

    problem: str
    remedy: str
    repair: Callable[[], object] | None = None


Check = Callable[[CheckContext], Iterator[Problem]]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A finding, and what became of it."""

    check: str
    problem: str
    remedy: str
    repairable: bool
    repaired: bool
    failure: str | None = None
    """Why the repair did not succeed."""


@dataclass(frozen=True, slots=True)
class DoctorResult:
    findings: tuple[Diagnosis, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing is amiss (any more)."""
        return all(finding.repaired for finding in self.findings)


def doctor(
    library: Library, emit: Emit, cancel: threading.Event, *, repair: bool = False
) -> DoctorResult:
    """Run every check; with `repair`, mend what can be mended, each check before the next."""
    context = CheckContext(library, emit, cancel)
    found: list[Diagnosis] = []
    for name, place in CHECKS.items():
        if cancel.is_set():
            raise Cancelled("stopped")
        module, _, function = place.partition(":")
        check: Check = getattr(import_module(module), function)
        try:
            findings = list(check(context))
        except Cancelled:
            raise
        except LocalqError as error:
            remedy = error.hint or "mend that first, then run localq doctor again"
            findings = [Problem(error.message, remedy)]
        told = {finding.problem for finding in found}  # a damaged catalogue stops every check
        new = [finding for finding in findings if finding.problem not in told]
        found += [_treat(name, finding, emit, repair=repair) for finding in new]
    return DoctorResult(tuple(found))


def _treat(check: str, finding: Problem, emit: Emit, *, repair: bool) -> Diagnosis:
    repaired, failure = False, None
    if repair and finding.repair is not None:
        try:
            finding.repair()
            repaired = True
        except (LocalqError, OSError) as error:
            failure = str(error)
            emit(
                Note(
                    msg("{problem}: {failure}", problem=finding.problem, failure=failure),
                    warning=True,
                )
            )
    return Diagnosis(
        check, finding.problem, finding.remedy, finding.repair is not None, repaired, failure
    )
