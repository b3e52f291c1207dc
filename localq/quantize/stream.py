"""The single pass over files that are not there yet: each block is written as its bytes arrive.

The output's layout is known before; a thread for each file on its way hands its bytes in, a pool
of threads encodes what is complete with the same code that reads mapped files. What is written
counts when whoever fetches says that the files it came from were right: then it is flushed and
noted, so that a killed run goes on with the files that were not.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from localq.display import byte_size
from localq.errors import BadFileError, Cancelled, UnsupportedError
from localq.messages import msg
from localq.quantize.arrival import Arrivals, FileGroup
from localq.quantize.blocks import cut
from localq.quantize.encoder import Buffers, Encoder
from localq.quantize.file_hash import FileHash
from localq.quantize.journal import Journal
from localq.quantize.layout import FileLayout
from localq.quantize.output import OutputFile

__all__ = ["StreamWriter"]

_BUDGET = 64 << 20
"""Bytes that may wait for the codecs: enough that neither they nor the network stand still."""
_MOST_HELD = 4 << 30
"""Some layouts need more at once: a matrix whose columns are its rows, factors that come late."""


class StreamWriter:
    """Writes `path` while its block runs; `shards` are the files that will come, in any order.

        with StreamWriter(...) as writer:
            for unit in writer.units:          # each by one thread, several at a time
                writer.begin(unit)             # again, if what came was damaged
                for shard in unit.files: ...   # writer.take(shard, chunk) from its first byte on
                writer.settle(unit)            # what came was right
            writer.finish()

    Leaving the block early stops all threads. `failure` is why one of them stopped by itself; the
    others then end with Cancelled. UnsupportedError for a layout that takes too much memory.
    """

    def __init__(
        self,
        path: Path,
        layout: FileLayout,
        shards: Sequence[Path],
        journal: Journal,
        *,
        threads: int,
        budget: int = _BUDGET,
    ) -> None:
        self._path = path
        self._layout = layout
        self._journal = journal
        self._numbers = {shard: number for number, shard in enumerate(sorted(shards))}
        noted = journal.resume(path, layout.size_bytes, len(shards))
        self.finished = {shard for shard, number in self._numbers.items() if number in noted}
        """What an earlier run had noted: these files are not needed any more."""
        blocks = [
            block
            for block in cut(layout)
            if self.finished.isdisjoint(span.path for span in block.spans)
        ]
        self._arrivals = Arrivals(blocks, self._numbers.keys() - self.finished, budget)
        self._encoder = Encoder(layout, self._arrivals)
        self._hashing = FileHash(path, layout.size_bytes, [block.offset for block in blocks])
        self._refuse_hoard()
        self._threads = [
            threading.Thread(target=self._work, name=f"quantize-{i}", daemon=True)
            for i in range(threads)
        ]
        self.failure: BaseException | None = None

    def __enter__(self) -> StreamWriter:
        self._output = OutputFile(self._path, self._layout.size_bytes)
        try:
            self._output.write(self._layout.header, 0)
        except BaseException:
            self._output.close()
            raise
        self._hashing.__enter__()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for thread in self._threads:
            thread.join()
        self._hashing.__exit__()
        self._output.close()

    @property
    def units(self) -> tuple[FileGroup, ...]:
        """What is still to come."""
        return self._arrivals.units

    def begin(self, unit: FileGroup) -> None:
        """The unit's files come, for the first time or once more."""
        self._arrivals.begin(unit)

    def take(self, shard: Path, chunk: bytes) -> None:
        """The next bytes of a shard; waits while too much is held. Cancelled if all must stop."""
        self._arrivals.take(shard, chunk)

    def settle(self, unit: FileGroup) -> None:
        """All of the unit's files came and were right: its part of the output is made to last.

        BadFileError where its numbers are NaN or infinite.
        """
        self._arrivals.wait(unit)
        for number in unit.blocks:
            self._hashing.wrote(number)
        self._output.flush()
        self._journal.add(self._numbers[shard] for shard in unit.files)

    def finish(self) -> str:
        """The file's SHA-256, when all is written, after every unit was settled; raises a
        `failure`."""
        try:
            self._arrivals.wait_all()
        except Cancelled:
            raise self.failure or Cancelled() from None
        return self._hashing.finish()

    def begin_flush(self) -> None:
        """Let the disk begin on what was written."""
        self._output.begin_flush()

    def stop(self) -> None:
        """End all threads soon, also those of others that wait in here."""
        self._arrivals.close()

    def _work(self) -> None:
        buffers = Buffers()
        try:
            while (number := self._arrivals.next()) is not None:
                block = self._arrivals.blocks[number]
                try:
                    self._output.write(self._encoder.encode(block, buffers), block.offset)
                except BadFileError as error:
                    # Perhaps only a damaged transfer: whoever checks the file will know.
                    self._arrivals.done(number, suspect=error)
                else:
                    if not block.spans:  # of no file, so nobody will settle it
                        self._hashing.wrote(number)
                    self._arrivals.done(number)
        except BaseException as error:
            self.failure = self.failure or error
            self.stop()

    def _refuse_hoard(self) -> None:
        if (most := self._arrivals.most_held) > _MOST_HELD:
            raise UnsupportedError(
                msg(
                    "quantizing these files as they arrive would take {most} of memory",
                    most=byte_size(most),
                ),
                hint=msg("pull the checkpoint without --as, then quantize it"),
            )
