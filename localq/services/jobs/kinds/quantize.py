"""`quantize` as a job."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

from localq.events import Emit
from localq.library import Library
from localq.messages import msg
from localq.services.consent import Consent
from localq.services.jobs.kinds.making import MakingKind
from localq.services.jobs.settling import short_name
from localq.services.make.quantize import QuantizeRequest, QuantizeResult, quantize
from localq.services.make.quantize_plan import source_and_target

__all__ = ["QuantizeKind"]


class QuantizeKind(MakingKind[QuantizeRequest]):
    name = "quantize"
    request = QuantizeRequest

    def work(
        self,
        library: Library,
        request: QuantizeRequest,
        emit: Emit,
        cancel: threading.Event,
        consent: Consent,
    ) -> QuantizeResult:
        return quantize(library, request, emit, cancel, consent)

    def title(self, request: QuantizeRequest) -> str:
        return msg(
            "quantize {short_name} to {name}",
            short_name=short_name(request.model),
            name=request.type.name,
        )

    def check(self, library: Library, request: QuantizeRequest) -> None:
        source_and_target(library, request)

    def may_ask(self, request: QuantizeRequest) -> bool:
        return request.with_llama_cpp

    def target(self, library: Library, request: QuantizeRequest) -> Path:
        return source_and_target(library, replace(request, force=True))[1]
