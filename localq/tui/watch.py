"""What happens in the localq home while the app is open, whoever does it: the one store of jobs
that every screen sees, and the news that the library changed.

A thread looks at the database's files once in a while, which costs nothing, and reads the jobs
only where these changed or a job runs. So the app also sees what the command line does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localq.errors import LocalqError
from localq.paths import Paths
from localq.tui.failure import logged

if TYPE_CHECKING:
    from localq.jobs import Job

__all__ = ["HomeNews", "HomeWatch"]

_BUSY_SECONDS = 0.5
_IDLE_SECONDS = 1.0
_FRESH_NANOSECONDS = 100_000_000

Signature = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class HomeNews:
    """The jobs, the oldest first, and how often the models were found to be others; 0: they are
    as they were when the watch was made. `changed` where anything else may be different, too."""

    jobs: tuple[Job, ...] = ()
    library: int = 0
    changed: bool = False
    problem: LocalqError | None = None
    """Why these could not be read; they are those of before."""


class HomeWatch:
    """`revision` says whether the models are others."""

    def __init__(self, paths: Paths, revision: Callable[[], int]) -> None:
        self._paths = paths
        self._revision = revision
        self._over = threading.Event()
        self._nudge = threading.Event()
        self._seen = _signature(paths.database)
        """Whoever reads the models from now on misses nothing."""
        self._fresh = False
        """Whether the database changed so lately that one more change would leave no trace."""
        self._known: int | None = None
        """The revision of the models at the last look; None before the first."""
        self._news = HomeNews()
        self._thread: threading.Thread | None = None

    def start(self, tell: Callable[[HomeNews], object]) -> None:
        """`tell` is called in the watch's own thread."""
        self._thread = threading.Thread(
            target=self._run, args=(tell,), name="localq-watch", daemon=True
        )
        self._thread.start()

    def look_now(self) -> None:
        """Something was just begun or ended here."""
        self._nudge.set()

    def stop(self, timeout: float) -> None:
        self._over.set()
        self._nudge.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def look(self, tell: Callable[[HomeNews], object]) -> None:
        """One look; tells where there is something to tell."""
        signature = _signature(self._paths.database)
        changed, is_first = signature != self._seen, self._known is None
        if not (changed or is_first or self._fresh or self._active):
            return
        again = changed or self._fresh
        self._seen, self._fresh = signature, _is_fresh(signature)
        try:
            news = self._read(again=again, changed=changed)
        except LocalqError as error:
            self._fresh = True  # it may pass
            self._known = self._known or 0
            if str(error) != str(self._news.problem or ""):
                library = self._news.library + 1
                self._news = HomeNews(self._news.jobs, library, changed=True, problem=error)
                tell(self._news)
            return
        before, self._news = self._news, news
        if changed or is_first or (news.jobs, news.library) != (before.jobs, before.library):
            tell(news)

    def _read(self, *, again: bool, changed: bool) -> HomeNews:
        from localq.jobs import JobStore

        before, library = self._known, self._news.library
        if again or before is None:
            self._known = self._revision()
            library += again and self._known != before
        return HomeNews(tuple(JobStore(self._paths).jobs()), library, changed)

    @property
    def _active(self) -> bool:
        return any(job.state.is_active for job in self._news.jobs)

    def _run(self, tell: Callable[[HomeNews], object]) -> None:
        while not self._over.is_set():
            self._nudge.clear()
            try:
                self.look(tell)
            except Exception as error:  # the app must go on hearing what happens
                logged(error, self._paths.log / "tui.log")
            self._nudge.wait(_BUSY_SECONDS if self._active else _IDLE_SECONDS)


def _is_fresh(signature: Signature) -> bool:
    """File systems tell times in steps of some milliseconds."""
    return time.time_ns() - max(changed for changed, _ in signature) < _FRESH_NANOSECONDS


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
