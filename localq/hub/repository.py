"""A model repository on the Hub as a source."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from urllib.parse import quote

from localq.errors import HubError, NotFoundError
from localq.events import Emit
from localq.hub.answers import claimed_start, refuse_other_content, whole_length
from localq.hub.backoff import Backoff, RetryPolicy
from localq.hub.listing import repo_state, tree_files
from localq.hub.session import HubSession, Params, hang_up
from localq.hub.source import Damaged, RemoteFile, Stream
from localq.hub.spec import ModelSpec
from localq.messages import msg

__all__ = ["HubSource"]

_MAX_PAGES = 200
"""Of 1,000 files each, or of 50 where a folder has many."""
_MAX_FILES = 100_000


@dataclass(frozen=True, slots=True)
class HubSource:
    """One commit of a repository, with everything in it listed."""

    session: HubSession
    repo: str
    revision: str
    files: tuple[RemoteFile, ...]

    @classmethod
    def resolve(
        cls,
        spec: ModelSpec,
        *,
        emit: Emit,
        cancel: threading.Event,
        policy: RetryPolicy | None = None,
    ) -> HubSource:
        """Ask the Hub which commit `spec` means and what files it has, in all its folders.

        Raises OfflineError, NotFoundError, HubError, Cancelled.
        """
        api = _Api(HubSession.from_environment(), Backoff(policy or RetryPolicy(), cancel, emit))
        repo, commit = api.state(spec.repo, spec.revision)
        try:
            files = api.files(repo, commit)
        except NotFoundError:
            if spec.revision == commit:
                raise
            repo, commit = api.state(spec.repo, spec.revision)  # its branch moved just now
            files = api.files(repo, commit)
        return cls(api.session, repo, commit, files)

    @contextmanager
    def open(self, file: RemoteFile, offset: int, end: int | None = None) -> Iterator[Stream]:
        asked = self.session.asked(self.repo, self.revision, file.path)
        # Asked anew each time: the signed address it leads to is good for an hour only.
        path = f"/{self.repo}/resolve/{self.revision}/{quote(file.path)}"
        with self.session.get(path, asked, offset=offset, end=end) as response:
            if response.status_code == 416:
                raise Damaged(msg("it is shorter than the {size:,} bytes listed", size=file.size))
            host, headers, chunks = response.url.host, response.headers, response.iter_bytes()
            start = 0
            if response.status_code == 206:
                start = claimed_start(headers.get("Content-Range", ""), file, offset, host)
            elif whole_length(headers) != file.size:
                beginning = next(chunks, b"")
                refuse_other_content(file, headers, beginning, host)
                chunks = chain((beginning,), chunks)
            yield Stream(start, chunks, partial(hang_up, response))


@dataclass(frozen=True, slots=True)
class _Api:
    session: HubSession
    backoff: Backoff

    def state(self, repo: str, revision: str | None) -> tuple[str, str]:
        path = f"/api/models/{repo}/revision/{quote(revision or 'main', safe='')}"
        answer, _ = self._get(path, repo, revision or "main", {"expand": "sha"})
        return repo_state(answer, repo)

    def files(self, repo: str, commit: str) -> tuple[RemoteFile, ...]:
        path = f"/api/models/{repo}/tree/{commit}"
        files: list[RemoteFile] = []
        page: Params = {"recursive": "true", "expand": "false"}
        for _ in range(_MAX_PAGES):
            answer, next_page = self._get(path, repo, commit, page)
            files += tree_files(answer, repo)
            if len(files) > _MAX_FILES:
                raise HubError(
                    msg(
                        "{repo} has more than {max_files:,} files: too many for a model",
                        repo=repo,
                        max_files=_MAX_FILES,
                    )
                )
            if next_page is None:
                return tuple(files)
            page = next_page
        raise HubError(msg("{repo}: the list of its files does not end", repo=repo))

    def _get(
        self, path: str, repo: str, revision: str, params: Params
    ) -> tuple[object, Params | None]:
        return self.session.patient_json(
            path, self.session.asked(repo, revision), params, self.backoff
        )
