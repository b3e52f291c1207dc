"""Pictures are computed in a thread of their own, while other texts grow, and read when it is
done."""

from __future__ import annotations

import threading
from collections.abc import Sequence as Many
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from localq.engine.llama_context import LlamaContext
from localq.engine.picture_places import PicturePlace
from localq.engine.projector import EncodedPicture, Projector
from localq.engine.sequence import Sequence

__all__ = ["PictureReader"]

_LOOK_SECONDS = 0.05


class PictureReader:
    """Brings the pictures of texts into the context's memory."""

    def __init__(self, context: LlamaContext, projector: Projector) -> None:
        self._context = context
        self._projector = projector
        self._thread = ThreadPoolExecutor(1, "pictures")
        self._computed: dict[int, tuple[PicturePlace, Future[EncodedPicture | None]]] = {}
        """What is, or is being, computed, by the request that it is for."""
        self._closing = threading.Event()

    def close(self) -> None:
        self._closing.set()
        self._thread.shutdown(cancel_futures=True)

    def begin(self, running: Many[Sequence]) -> None:
        """Compute the pictures that come next, and forget those of texts that have ended."""
        for id_ in self._computed.keys() - {one.id for one in running}:
            del self._computed[id_]
        for sequence in running:
            place = sequence.pictures.next(sequence.read)
            if place is None:
                self._computed.pop(sequence.id, None)
                continue
            known = self._computed.get(sequence.id)
            if known is None or known[0] is not place:
                self._computed[sequence.id] = (
                    place,
                    self._thread.submit(self._encode, sequence, place),
                )

    def ready(self, running: Many[Sequence]) -> Sequence | None:
        """A text whose next token is a picture that is computed."""
        for sequence in running:
            known = self._computed.get(sequence.id)
            if known and known[0].start == sequence.read and known[1].done():
                return sequence
        return None

    def read(self, sequence: Sequence) -> None:
        """Let a text that is ready read its picture. As `LlamaContext.decode`; LlamaError too where
        it could not be computed."""
        assert sequence.slot is not None
        place, computed = self._computed[sequence.id]
        picture = computed.result()
        if picture is None:  # the text was cancelled
            return
        slot, position = sequence.slot, sequence.position
        n_batch = self._context.n_batch
        self._context.read_picture(
            lambda handle: self._projector.decode(handle, picture, position, slot, n_batch),
            slot,
            position,
        )
        sequence.read = place.end
        del self._computed[sequence.id]

    def wait(self) -> None:
        """A moment, or until one is computed."""
        if futures := [future for _, future in self._computed.values()]:
            wait(futures, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)

    def _encode(self, sequence: Sequence, place: PicturePlace) -> EncodedPicture | None:
        def cancelled() -> bool:
            return sequence.is_cancelled or self._closing.is_set()

        return None if cancelled() else self._projector.encode(place.chunk, cancelled)
