"""Blocks whose bytes are still coming: what to keep of a stream, until when, and what is ready.

Files are read from front to back, several at the same time. Of each only what some block needs is
kept: a region is a run of bytes that blocks share, in memory from its first byte until its last
block is done. A block is ready when all its spans have arrived. Files that a block reads from
together form a unit, for they must be begun again together if one of them turns out damaged.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from localq.errors import BadFileError, Cancelled
from localq.quantize.blocks import Block, Span
from localq.quantize.native import Bytes

__all__ = ["Arrivals", "FileGroup"]


@dataclass(slots=True, eq=False)
class FileGroup:
    """Files that are read one after another, and count only together."""

    files: tuple[Path, ...]
    blocks: list[int] = field(default_factory=list)
    left: int = 0
    running: int = 0
    suspect: BadFileError | None = None
    """What a block found wrong with the bytes it was given."""


@dataclass(slots=True, eq=False)
class _Region:
    start: int
    end: int
    users: int = 0
    left: int = 0
    data: Bytes | None = None

    @property
    def size(self) -> int:
        return self.end - self.start


@dataclass(slots=True, eq=False)
class _File:
    """`awaited` are the ends of spans in their order, and whose they are."""

    regions: list[_Region] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    awaited: list[tuple[int, int]] = field(default_factory=list)
    position: int = 0
    next_region: int = 0
    next_awaited: int = 0

    def region(self, start: int) -> _Region:
        return self.regions[bisect_right(self.starts, start) - 1]


class Arrivals:
    """The blocks to be done, and the bytes that are there for them.

    One thread per file gives bytes (`begin`, `take`, `wait`), others do blocks (`next`, `done`).
    `take` waits while more than `budget` bytes are held, unless nothing could go on without more.
    """

    def __init__(self, blocks: Sequence[Block], files: Iterable[Path], budget: int) -> None:
        self.blocks = blocks
        self._spans = [block.spans for block in blocks]
        self._budget = budget
        self._changed = threading.Condition()
        self.held = 0
        """Bytes in memory now."""
        self._running = 0
        self._left = len(blocks)
        self._closed = False
        self._missing = [len(spans) for spans in self._spans]
        self._ready = deque(i for i, spans in enumerate(self._spans) if not spans)
        self._files = _files(self._spans, files)
        self.units = _units(self._spans, self._files)
        self._unit_of: list[FileGroup | None] = [None] * len(blocks)
        for unit in self.units:
            for number in unit.blocks:
                self._unit_of[number] = unit

    @property
    def most_held(self) -> int:
        """The bytes that a unit cannot do without at once, however fast its blocks are done."""
        return max(map(self._most_held, self.units), default=0)

    def view(self, path: Path, start: int, end: int) -> Bytes:
        """Bytes that have arrived for a block that is not done yet."""
        region = self._files[path].region(start)
        assert region.data is not None
        assert end <= region.end
        return region.data[start - region.start : end - region.start]

    # -- giving bytes ----------------------------------------------------------------------------

    def begin(self, unit: FileGroup) -> None:
        """All files of the unit come from their first byte on; what was done of it is void."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not unit.running)
            self._refuse_if_closed()
            members = set(unit.blocks)
            self._ready = deque(number for number in self._ready if number not in members)
            for number in unit.blocks:
                self._missing[number] = len(self._spans[number])
            self._left += len(unit.blocks) - unit.left
            unit.left, unit.suspect = len(unit.blocks), None
            for path in unit.files:
                file = self._files[path]
                file.position = file.next_region = file.next_awaited = 0
                for region in file.regions:
                    self._release(region)
                    region.left = region.users
            self._changed.notify_all()

    def take(self, path: Path, chunk: bytes) -> None:
        """The next bytes of a file. Cancelled after `close`."""
        file = self._files[path]
        start, end = file.position, file.position + len(chunk)
        data = np.frombuffer(chunk, np.uint8)
        while file.next_region < len(file.regions):
            region = file.regions[file.next_region]
            if region.start >= end:
                break
            if region.data is None:
                self._allocate(region)
            low, high = max(start, region.start), min(end, region.end)
            assert region.data is not None
            region.data[low - region.start : high - region.start] = data[low - start : high - start]
            if region.end > end:
                break
            file.next_region += 1
        file.position = end
        if file.next_awaited < len(file.awaited) and file.awaited[file.next_awaited][0] <= end:
            self._announce(file)

    def wait(self, unit: FileGroup) -> None:
        """Until all blocks of the unit are done; raises what was wrong with one. Cancelled after
        `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not unit.left)
            self._refuse_if_closed()
            if unit.suspect is not None:
                raise unit.suspect

    def wait_all(self) -> None:
        """Until all blocks are done."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._left)
            self._refuse_if_closed()

    # -- doing blocks ----------------------------------------------------------------------------

    def next(self) -> int | None:
        """The number of a block that is ready, waiting for one; None after `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._ready)
            if self._closed:
                return None
            number = self._ready.popleft()
            self._running += 1
            if unit := self._unit_of[number]:
                unit.running += 1
            return number

    def done(self, number: int, suspect: BadFileError | None = None) -> None:
        """A block that `next` gave was written, or its bytes make no sense."""
        with self._changed:
            self._running -= 1
            self._left -= 1
            for span in self._spans[number]:
                region = self._files[span.path].region(span.start)
                region.left -= 1
                if not region.left:
                    self._release(region)
            if unit := self._unit_of[number]:
                unit.running -= 1
                unit.left -= 1
                unit.suspect = unit.suspect or suspect
            elif suspect is not None:
                raise suspect
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more is to be done: whoever waits is let go."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise Cancelled

    def _allocate(self, region: _Region) -> None:
        def may_go_on() -> bool:
            fits = self.held + region.size <= self._budget
            return fits or self._closed or not (self._ready or self._running)

        with self._changed:
            self._changed.wait_for(may_go_on)
            self._refuse_if_closed()
            self.held += region.size
        region.data = np.empty(region.size, np.uint8)

    def _release(self, region: _Region) -> None:
        if region.data is not None:
            region.data = None
            self.held -= region.size

    def _announce(self, file: _File) -> None:
        with self._changed:
            while file.next_awaited < len(file.awaited):
                end, number = file.awaited[file.next_awaited]
                if end > file.position:
                    break
                file.next_awaited += 1
                self._missing[number] -= 1
                if not self._missing[number]:
                    self._ready.append(number)
            self._changed.notify_all()

    def _most_held(self, unit: FileGroup) -> int:
        order = {path: i for i, path in enumerate(unit.files)}
        last: dict[int, tuple[int, int]] = {}
        regions: dict[int, tuple[tuple[int, int], _Region]] = {}
        for number in unit.blocks:
            spans = self._spans[number]
            ready = max((order[span.path], span.end) for span in spans)
            for span in spans:
                region = self._files[span.path].region(span.start)
                regions[id(region)] = ((order[span.path], region.start), region)
                last[id(region)] = max(last.get(id(region), ready), ready)
        # At one place in the stream, what is no longer needed goes before what begins there.
        events = [(start, 1, region.size) for start, region in regions.values()]
        events += [(last[key], 0, -region.size) for key, (_, region) in regions.items()]
        held = most = 0
        for _, _, change in sorted(events):
            held += change
            most = max(most, held)
        return most


def _files(spans: Sequence[Sequence[Span]], paths: Iterable[Path]) -> dict[Path, _File]:
    files = {path: _File() for path in paths}
    for number, needed in enumerate(spans):
        for span in needed:
            files[span.path].awaited.append((span.end, number))
    by_file: dict[Path, list[Span]] = {path: [] for path in files}
    for span in sorted(span for needed in spans for span in needed):
        by_file[span.path].append(span)
    for path, file in files.items():
        file.awaited.sort()
        for span in by_file[path]:
            if not file.regions or span.start >= file.regions[-1].end:
                file.regions.append(_Region(span.start, span.end))
            region = file.regions[-1]
            region.end = max(region.end, span.end)
            region.users += 1
            region.left += 1
        file.starts = [region.start for region in file.regions]
    return files


def _units(spans: Sequence[Sequence[Span]], files: Iterable[Path]) -> tuple[FileGroup, ...]:
    """Files that some block reads from together, in one; each unit with its blocks."""
    together: dict[Path, Path] = {path: path for path in files}

    def first_of(path: Path) -> Path:
        while together[path] != path:
            path = together[path]
        return path

    for needed in spans:
        for one, other in pairwise(needed):
            ends = sorted((first_of(one.path), first_of(other.path)))
            together[ends[1]] = ends[0]
    members: dict[Path, list[Path]] = {}
    for path in sorted(together):
        members.setdefault(first_of(path), []).append(path)
    units = {first: FileGroup(tuple(paths)) for first, paths in members.items()}
    for number, needed in enumerate(spans):
        if needed:
            units[first_of(needed[0].path)].blocks.append(number)
    for unit in units.values():
        unit.left = len(unit.blocks)
    return tuple(units.values())
