"""`import` as a job."""

from __future__ import annotations

import threading
from pathlib import Path

from localq.errors import LocalqError
from localq.events import Emit
from localq.library import Library
from localq.messages import msg
from localq.services.consent import Consent
from localq.services.jobs.kind import JobKind
from localq.services.jobs.unfinished import drop_unfinished
from localq.services.library.import_models import (
    ImportRequest,
    ImportResult,
    destinations,
    import_models,
)

__all__ = ["ImportKind"]


class ImportKind(JobKind[ImportRequest, ImportResult]):
    name = "import"
    request = ImportRequest

    def work(
        self,
        library: Library,
        request: ImportRequest,
        emit: Emit,
        cancel: threading.Event,
        consent: Consent,
    ) -> ImportResult:
        return import_models(library, request, emit, cancel)

    def title(self, request: ImportRequest) -> str:
        if request.tool is not None:
            return msg("import from {tool}", tool=request.tool)
        paths = request.paths
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        return msg("import {name}{more}", name=(paths[0].name if paths else "nothing"), more=more)

    def made(self, result: ImportResult) -> str:
        names = [imported.model.name for imported in result.imported]
        return names[0] if len(names) == 1 else msg("{names} models", names=len(names))

    def folders(self, library: Library, request: ImportRequest) -> set[Path]:
        return {file.parent for file in _destinations(library, request)}

    def drop_partials(self, library: Library, request: ImportRequest) -> int:
        copies = {library.paths.partial / file.name for file in _destinations(library, request)}
        return sum(map(drop_unfinished, copies))


def _destinations(library: Library, request: ImportRequest) -> set[Path]:
    try:
        return destinations(library, request)
    except LocalqError:
        return set()  # it is not there any more
