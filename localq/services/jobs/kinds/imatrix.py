"""`imatrix` as a job."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

from localq.events import Emit
from localq.library import Library
from localq.messages import msg
from localq.services.consent import Consent
from localq.services.jobs.kind import JobKind
from localq.services.jobs.settling import full_name, short_name
from localq.services.library.locate import locate_gguf
from localq.services.make.imatrix import ImatrixRequest, ImatrixResult, make_imatrix

__all__ = ["ImatrixKind"]


class ImatrixKind(JobKind[ImatrixRequest, ImatrixResult]):
    name = "imatrix"
    request = ImatrixRequest

    def work(
        self,
        library: Library,
        request: ImatrixRequest,
        emit: Emit,
        cancel: threading.Event,
        consent: Consent,
    ) -> ImatrixResult:
        return make_imatrix(library, request, emit, cancel)

    def title(self, request: ImatrixRequest) -> str:
        return msg("imatrix of {short_name}", short_name=short_name(request.model))

    def made(self, result: ImatrixResult) -> str:
        return str(result.path)

    def settled(self, library: Library, request: ImatrixRequest) -> ImatrixRequest:
        model = full_name(library, request.model, library.find_gguf)
        return replace(request, model=model, output=request.output or Path.cwd())

    def check(self, library: Library, request: ImatrixRequest) -> None:
        locate_gguf(library, request.model)
