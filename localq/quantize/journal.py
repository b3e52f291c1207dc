"""What of an unfinished file is safely on disk, so that work can go on after a kill.

The journal stands beside the partial file. Its first line is a key that names everything the
bytes depend on; each further line is the number of a part that was written and flushed: of a
tensor, or of a shard whose tensors all were. A line that is cut short, as by a power failure,
does not count.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from localq.quantize.layout import FileLayout

__all__ = ["Journal", "content_key", "layout_key"]

_MAX_BYTES = 16 << 20


def layout_key(layout: FileLayout, sources: Iterable[Path]) -> str:
    """A name for the file's content: its header, its weights' importance, and the source files.

    A source counts as the same while its path, size and time of change are.
    """
    statuses = ((path, path.stat()) for path in sorted(set(sources)))
    return content_key(layout, (f"{path}\0{s.st_size}\0{s.st_mtime_ns}" for path, s in statuses))


def content_key(layout: FileLayout, sources: Iterable[str]) -> str:
    """As `layout_key`, of sources that are told apart by the texts given."""
    digest = sha256(layout.header)
    for tensor in layout.tensors:
        if tensor.weights is not None:
            digest.update(tensor.weights.tobytes())
    for source in sources:
        digest.update(f"{source}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


class Journal:
    """The finished parts of one partial file."""

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._key = key

    def finished(self, count: int) -> set[int]:
        """The finished ones of `count` parts; none if the journal is another file's."""
        try:
            with self._path.open("rb") as file:
                lines = file.read(_MAX_BYTES).split(b"\n")
        except OSError:
            return set()
        if lines[0] != self._key.encode():
            return set()
        numbers = (int(line) for line in lines[1:-1] if line.isdigit() and len(line) < 10)
        return {number for number in numbers if number < count}

    def resume(self, partial: Path, size_bytes: int, count: int) -> set[int]:
        """The finished ones of the `count` parts that `partial` holds.

        Where there are none, `partial` goes and the journal begins anew.
        """
        try:
            whole = partial.stat().st_size == size_bytes
        except FileNotFoundError:
            whole = False
        done = self.finished(count) if whole else set()
        if not done:
            partial.unlink(missing_ok=True)
            self.begin()
        return done

    def holds_work(self) -> bool:
        """Whether anything is finished, of however many parts."""
        return bool(self.finished(1 << 31))

    def begin(self) -> None:
        """Start an empty journal, forgetting what was there."""
        self._path.write_text(f"{self._key}\n", encoding="ascii")

    def add(self, numbers: Iterable[int]) -> None:
        """Note parts whose bytes have been flushed to disk."""
        lines = "".join(f"{number}\n" for number in numbers)
        if lines:
            with self._path.open("a", encoding="ascii") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
