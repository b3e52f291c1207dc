"""`pull` as a job."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

from localq.events import Emit
from localq.hub.spec import parse_spec
from localq.hub.staging import staging_folder
from localq.library import Library
from localq.messages import msg
from localq.services.consent import Consent
from localq.services.jobs.kind import JobKind
from localq.services.pull.pull import PullRequest, PullResult, choices, pull, recipe_here

__all__ = ["PullKind"]


class PullKind(JobKind[PullRequest, PullResult]):
    name = "pull"
    request = PullRequest

    def work(
        self,
        library: Library,
        request: PullRequest,
        emit: Emit,
        cancel: threading.Event,
        consent: Consent,
    ) -> PullResult:
        return pull(library, request, emit, cancel)

    def title(self, request: PullRequest) -> str:
        return msg("pull {spec}", spec=request.spec or "a model that fits")

    def made(self, result: PullResult) -> str:
        return result.model.name

    def settled(self, library: Library, request: PullRequest) -> PullRequest:
        if request.spec is not None:
            return request
        if recipe := recipe_here():
            from localq.recipes import load_recipe

            loaded = load_recipe(recipe)
            revision = f"@{loaded.revision}" if loaded.revision else ""
            return replace(request, spec=loaded.repo + revision)
        offered = choices(library)
        return replace(request, spec=offered[0].repo) if offered else request

    def check(self, library: Library, request: PullRequest) -> None:
        if request.spec is not None and request.spec.strip().casefold() != "demo":
            parse_spec(request.spec)

    def folders(self, library: Library, request: PullRequest) -> set[Path]:
        if request.spec is None:
            return set()
        return {library.checkpoint_folder(parse_spec(request.spec).repo)}

    def drop_partials(self, library: Library, request: PullRequest) -> int:
        if request.spec is None:
            return 0
        repo = parse_spec(request.spec).repo
        folder = library.paths.partial / repo
        if not folder.is_dir():
            return 0
        before = _size(folder)
        with staging_folder(library.paths.partial, repo, "none"):
            pass  # what is not of the commit that is asked for goes
        return before - _size(folder)


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
