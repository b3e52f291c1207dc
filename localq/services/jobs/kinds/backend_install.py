"""`backend install` as a job."""

from __future__ import annotations

import threading
from dataclasses import replace

from localq.events import Emit
from localq.gpu_quant.environments import half_made, sweep
from localq.library import Library
from localq.messages import msg
from localq.services.backends.install import (
    BackendInstallRequest,
    BackendInstallResult,
    install_backend,
    plan_installation,
)
from localq.services.consent import Consent
from localq.services.jobs.kind import JobKind

__all__ = ["BackendInstallKind"]


class BackendInstallKind(JobKind[BackendInstallRequest, BackendInstallResult]):
    name = "backend-install"
    request = BackendInstallRequest

    def work(
        self,
        library: Library,
        request: BackendInstallRequest,
        emit: Emit,
        cancel: threading.Event,
        consent: Consent,
    ) -> BackendInstallResult:
        return install_backend(library, request, emit, cancel, consent)

    def title(self, request: BackendInstallRequest) -> str:
        return msg("install the backend {name}", name=request.name)

    def made(self, result: BackendInstallResult) -> str:
        return f"{result.name} {result.version}"

    def settled(self, library: Library, request: BackendInstallRequest) -> BackendInstallRequest:
        return replace(request, python=request.python.absolute()) if request.python else request

    def check(self, library: Library, request: BackendInstallRequest) -> None:
        plan_installation(library.paths, request)

    def may_ask(self, request: BackendInstallRequest) -> bool:
        return True

    def drop_partials(self, library: Library, request: BackendInstallRequest) -> int:
        from localq.gpu_quant.installation import folder_bytes

        freed = sum(map(folder_bytes, half_made(library.paths)))
        sweep(library.paths)
        return freed
