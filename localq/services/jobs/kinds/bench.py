"""`bench` as a job: the result is kept with the other measurements."""

from __future__ import annotations

import threading
from dataclasses import replace

from localq.events import Emit
from localq.library import Library
from localq.messages import msg
from localq.planning.measurements import Benchmark
from localq.services.consent import Consent
from localq.services.jobs.kind import JobKind
from localq.services.jobs.settling import full_name, short_name
from localq.services.measure.bench import BenchRequest, bench

__all__ = ["BenchKind"]


class BenchKind(JobKind[BenchRequest, Benchmark]):
    name = "bench"
    request = BenchRequest

    def work(
        self,
        library: Library,
        request: BenchRequest,
        emit: Emit,
        cancel: threading.Event,
        consent: Consent,
    ) -> Benchmark:
        return bench(library, request, emit, cancel)

    def title(self, request: BenchRequest) -> str:
        return msg("bench {model}", model=short_name(request.model))

    def made(self, result: Benchmark) -> str:
        return result.model

    def settled(self, library: Library, request: BenchRequest) -> BenchRequest:
        return replace(request, model=full_name(library, request.model, library.find_gguf))
