"""`quantize gptq` and `quantize awq` as jobs."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

from localq.events import Emit
from localq.gpu_quant.calibration import BUILTIN
from localq.library import Library
from localq.messages import msg
from localq.services.consent import Consent
from localq.services.int4.plan import plan_int4
from localq.services.int4.quantize import Int4Request, Int4Result, quantize_int4
from localq.services.jobs.kind import JobKind
from localq.services.jobs.settling import full_name, short_name

__all__ = ["Int4Kind"]

_NAMED = (None, BUILTIN, "wikitext2", "c4")


class Int4Kind(JobKind[Int4Request, Int4Result]):
    name = "int4"
    request = Int4Request

    def work(
        self,
        library: Library,
        request: Int4Request,
        emit: Emit,
        cancel: threading.Event,
        consent: Consent,
    ) -> Int4Result:
        return quantize_int4(library, request, emit, cancel)

    def title(self, request: Int4Request) -> str:
        return msg(
            "quantize {short_name} to {name}",
            short_name=short_name(request.model),
            name=request.options().label,
        )

    def made(self, result: Int4Result) -> str:
        return result.name

    def settled(self, library: Library, request: Int4Request) -> Int4Request:
        calib = request.calib
        if calib not in _NAMED and calib is not None:
            calib = str(Path(calib).expanduser().absolute())
        model = full_name(library, request.model, library.find_checkpoint)
        return replace(request, model=model, calib=calib)

    def check(self, library: Library, request: Int4Request) -> None:
        plan_int4(library, request)
