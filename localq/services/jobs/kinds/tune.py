"""`tune` as a job: what was found is used from then on."""

from __future__ import annotations

import threading
from dataclasses import replace

from localq.events import Emit
from localq.library import Library
from localq.messages import msg
from localq.services.consent import Consent
from localq.services.jobs.kind import JobKind
from localq.services.jobs.settling import full_name, short_name
from localq.services.measure.tune import TuneRequest, TuneResult, tune

__all__ = ["TuneKind"]


class TuneKind(JobKind[TuneRequest, TuneResult]):
    name = "tune"
    request = TuneRequest

    def work(
        self,
        library: Library,
        request: TuneRequest,
        emit: Emit,
        cancel: threading.Event,
        consent: Consent,
    ) -> TuneResult:
        return tune(library, request, emit, cancel)

    def title(self, request: TuneRequest) -> str:
        return msg("tune {model}", model=short_name(request.model))

    def made(self, result: TuneResult) -> str:
        return result.model

    def settled(self, library: Library, request: TuneRequest) -> TuneRequest:
        return replace(request, model=full_name(library, request.model, library.find_gguf))
