"""What happens in the localq home while the app is open, whoever does it: the one store of jobs
that every screen sees, and the news that the library changed.

A thread looks at the database's files once in a while, which costs nothing, and reads the jobs
only where these changed or a job runs. So the app also sees what the command line does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from localq.errors import LocalqError
from localq.jobs import Job, JobStore
from localq.paths import Paths

__all__ = ["HomeNews", "HomeWatch"]

_BUSY_SECONDS = 0.5
_IDLE_SECONDS = 1.0

Signature = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class HomeNews:
    """The jobs, the oldest first; `changed` where anything else may be different, too."""

    jobs: tuple[Job, ...]
    changed: bool
    problem: LocalqError | None = None
    """Why the jobs could not be read; `jobs` are those of before."""


class HomeWatch:
    """`tell` is called in the watch's own thread."""

    def __init__(self, paths: Paths, tell: Callable[[HomeNews], object]) -> None:
        self._store = JobStore(paths)
        self._database = paths.database
        self._tell = tell
        self._over = threading.Event()
        self._nudge = threading.Event()
        self._seen: Signature | None = None
        self._jobs: tuple[Job, ...] = ()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="localq-watch", daemon=True)
        self._thread.start()

    def look_now(self) -> None:
        """Something was just begun or ended here."""
        self._nudge.set()

    def stop(self, timeout: float) -> None:
        self._over.set()
        self._nudge.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def look(self) -> None:
        """One look; tells where there is something to tell."""
        signature = _signature(self._database)
        active = any(job.state.is_active for job in self._jobs)
        changed = signature != self._seen
        if not (changed or active):
            return
        try:
            jobs = tuple(self._store.jobs())
        except LocalqError as error:
            if changed:
                self._seen = signature
                self._tell(HomeNews(self._jobs, changed=True, problem=error))
            return
        self._seen = signature
        if changed or jobs != self._jobs:
            self._jobs = jobs
            self._tell(HomeNews(jobs, changed))

    def _run(self) -> None:
        while not self._over.is_set():
            self._nudge.clear()
            self.look()
            active = any(job.state.is_active for job in self._jobs)
            self._nudge.wait(_BUSY_SECONDS if active else _IDLE_SECONDS)


def _signature(database: Path) -> Signature:
    """Differs after every change of the database; at rest, its log of changes is empty."""
    found = []
    for path in (database, database.with_name(f"{database.name}-wal")):
        try:
            status = path.stat()
        except OSError:
            found.append((0, 0))
        else:
            found.append((status.st_mtime_ns, status.st_size) if status.st_size else (0, 0))
    return tuple(found)
