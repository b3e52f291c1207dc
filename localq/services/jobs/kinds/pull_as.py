"""`pull --as` as a job."""

from __future__ import annotations

import threading
from pathlib import Path

from localq.events import Emit
from localq.hub.spec import parse_spec
from localq.library import Library
from localq.messages import msg
from localq.services.consent import Consent
from localq.services.jobs.kind import JobKind
from localq.services.jobs.unfinished import drop_unfinished
from localq.services.pull.stream import PullAsRequest, PullAsResult, pull_as

__all__ = ["PullAsKind"]


class PullAsKind(JobKind[PullAsRequest, PullAsResult]):
    name = "pull-as"
    request = PullAsRequest

    def work(
        self,
        library: Library,
        request: PullAsRequest,
        emit: Emit,
        cancel: threading.Event,
        consent: Consent,
    ) -> PullAsResult:
        return pull_as(library, request, emit, cancel)

    def title(self, request: PullAsRequest) -> str:
        return msg("pull {spec} as {name}", spec=request.spec, name=request.type.name)

    def made(self, result: PullAsResult) -> str:
        return result.model.name

    def check(self, library: Library, request: PullAsRequest) -> None:
        parse_spec(request.spec)

    def folders(self, library: Library, request: PullAsRequest) -> set[Path]:
        return {library.checkpoint_folder(parse_spec(request.spec).repo)}

    def drop_partials(self, library: Library, request: PullAsRequest) -> int:
        repo = parse_spec(request.spec).repo
        return drop_unfinished(library.gguf_path(repo, request.type.name))
