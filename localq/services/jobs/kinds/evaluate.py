"""`eval` as a job: what is found is kept as the files' cards."""

from __future__ import annotations

import threading
from dataclasses import replace

from localq.events import Emit
from localq.library import Library
from localq.messages import msg
from localq.quality.results import Evaluation
from localq.services.consent import Consent
from localq.services.jobs.kind import JobKind
from localq.services.jobs.settling import full_name, short_name
from localq.services.library.locate import locate_gguf
from localq.services.quality.evaluate import EvaluateRequest, evaluate

__all__ = ["EvaluateKind"]


class EvaluateKind(JobKind[EvaluateRequest, Evaluation]):
    name = "eval"
    request = EvaluateRequest

    def work(
        self,
        library: Library,
        request: EvaluateRequest,
        emit: Emit,
        cancel: threading.Event,
        consent: Consent,
    ) -> Evaluation:
        return evaluate(library, request, emit, cancel)

    def title(self, request: EvaluateRequest) -> str:
        return msg("eval {models}", models=", ".join(short_name(m) for m in request.models))

    def made(self, result: Evaluation) -> str:
        return ", ".join(model.model for model in result.models)

    def settled(self, library: Library, request: EvaluateRequest) -> EvaluateRequest:
        def full(name: str) -> str:
            return full_name(library, name, library.find_gguf) or name

        return replace(
            request,
            models=tuple(full(name) for name in request.models),
            against=full(request.against) if request.against else None,
            text=request.text.absolute() if request.text else None,
        )

    def check(self, library: Library, request: EvaluateRequest) -> None:
        for name in (*request.models, *([request.against] if request.against else [])):
            locate_gguf(library, name)
