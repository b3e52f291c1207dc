"""`convert` as a job."""

from __future__ import annotations

import threading
from pathlib import Path

from localq.events import Emit
from localq.library import Library
from localq.messages import msg
from localq.services.consent import Consent
from localq.services.jobs.kinds.making import MakingKind
from localq.services.jobs.settling import short_name
from localq.services.library.locate import locate_convertible
from localq.services.make.convert import ConvertRequest, ConvertWith, convert
from localq.services.make.destination import target_of
from localq.services.make.lossless import own_type
from localq.services.make.quantize import QuantizeResult

__all__ = ["ConvertKind"]


class ConvertKind(MakingKind[ConvertRequest]):
    name = "convert"
    request = ConvertRequest

    def work(
        self,
        library: Library,
        request: ConvertRequest,
        emit: Emit,
        cancel: threading.Event,
        consent: Consent,
    ) -> QuantizeResult:
        return convert(library, request, emit, cancel, consent)

    def title(self, request: ConvertRequest) -> str:
        return msg("convert {short_name}", short_name=short_name(request.model))

    def check(self, library: Library, request: ConvertRequest) -> None:
        locate_convertible(library, request.model)

    def may_ask(self, request: ConvertRequest) -> bool:
        return request.converter is ConvertWith.LLAMA_CPP

    def target(self, library: Library, request: ConvertRequest) -> Path:
        source = locate_convertible(library, request.model)
        type_ = request.type or own_type(source)
        return target_of(library, source, type_, request.output, force=True)
