"""`verify` as a job: of models that someone chose in the terminal app."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from localq.errors import LibraryError
from localq.events import Emit
from localq.library import Library
from localq.messages import msg
from localq.services.consent import Consent
from localq.services.jobs.kind import JobKind
from localq.services.library.verify import VerifyResult, verify

__all__ = ["VerifyKind", "VerifyRequest"]


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """The models' full names; none: all."""

    names: tuple[str, ...] = ()


class VerifyKind(JobKind[VerifyRequest, VerifyResult]):
    name = "verify"
    request = VerifyRequest

    def work(
        self,
        library: Library,
        request: VerifyRequest,
        emit: Emit,
        cancel: threading.Event,
        consent: Consent,
    ) -> VerifyResult:
        """LibraryError where a model is not what it was."""
        result = verify(library, request.names, emit, cancel)
        for model in result.models:
            if not model.good:
                bad = next((file for file in model.files if not file.verdict.good), None)
                what = (
                    msg("{file} is {verdict}", file=bad.path.name, verdict=bad.verdict)
                    if bad
                    else model.problems[0]
                )
                raise LibraryError(
                    msg("{name}: {problem}", name=model.name, problem=what), hint=model.mend
                )
        return result

    def title(self, request: VerifyRequest) -> str:
        if len(request.names) == 1:
            return msg("verify {name}", name=request.names[0])
        return msg("verify {count} models", count=len(request.names) or "all")

    def made(self, result: VerifyResult) -> str:
        names = [model.name for model in result.models]
        return names[0] if len(names) == 1 else msg("{names} models", names=len(names))

    def settled(self, library: Library, request: VerifyRequest) -> VerifyRequest:
        return VerifyRequest(tuple(library.find(name).name for name in request.names))
