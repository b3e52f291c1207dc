"""The SHA-256 of a file while it is written, by threads that finish its parts in any order.

What is finished from the front on is read back, from the system's cache, by a thread of its own;
so nothing is held, and nothing is left to be done at the end but the last few parts.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path

from localq.errors import BadFileError
from localq.messages import msg

__all__ = ["FileHash"]

_CHUNK = 1 << 20


class FileHash:
    """Follows the writing of `path`, which is `size` bytes long.

    `offsets` say where the parts still to be written begin, in the file's order; all between
    them is there, or belongs to the part before. A context manager: leaving it stops the thread.
    """

    def __init__(self, path: Path, size: int, offsets: Sequence[int]) -> None:
        self._path = path
        self._ends = [*offsets, size]
        self._written = [False] * len(offsets)
        self._next = 0
        self._changed = threading.Condition()
        self._stopped = False
        self._failure: OSError | None = None
        self._hasher = hashlib.sha256()
        self._thread = threading.Thread(target=self._run, name="hash", daemon=True)

    def __enter__(self) -> FileHash:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def wrote(self, number: int) -> None:
        """The part that begins at `offsets[number]` is in the file, for good."""
        with self._changed:
            self._written[number] = True
            before = self._next
            while self._next < len(self._written) and self._written[self._next]:
                self._next += 1
            if self._next > before:
                self._changed.notify()

    def finish(self) -> str:
        """The hash, when all parts are written; BadFileError where the file cannot be read."""
        self._thread.join()
        if self._failure is not None:
            reason = self._failure.strerror or str(self._failure)
            raise BadFileError(
                self._path, msg("cannot be read: {reason}", reason=reason)
            ) from self._failure
        return self._hasher.hexdigest()

    def _run(self) -> None:
        buffer = memoryview(bytearray(_CHUNK))
        done = 0
        try:
            with self._path.open("rb", buffering=0) as file:
                while (end := self._end_beyond(done)) is not None:
                    while done < end and not self._stopped:
                        count = file.readinto(buffer[: min(_CHUNK, end - done)])
                        if not count:
                            raise OSError("it is shorter than it should be")
                        self._hasher.update(buffer[:count])
                        done += count
        except OSError as error:
            self._failure = error

    def _end_beyond(self, done: int) -> int | None:
        """Up to where the file is finished, once that is beyond `done`; None: no further."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopped or done == self._ends[-1] or self._ends[self._next] > done
            )
            return None if self._stopped or done == self._ends[-1] else self._ends[self._next]
