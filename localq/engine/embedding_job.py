"""One request for vectors or scores on its way: its texts, and what has been read of each."""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from localq.engine.embedding_requests import Embedded, Pooling, Ranked, Vectors

__all__ = ["EmbeddingJob", "Text"]

_MOST_BYTES = 8 << 20
"""Of vectors in one reply."""


@dataclass(slots=True, eq=False)
class Text:
    """A text of a job. Its tokens' vectors come in pieces where it is long."""

    job: EmbeddingJob
    index: int
    tokens: Sequence[int]
    read: int = 0
    """So many of its tokens have been read."""
    slot: int | None = None
    """Its id in llama.cpp's memory, while it has one."""
    sent: int = 0
    """So many of its tokens' own vectors have been sent."""
    summary: Any = None
    """What pooling has made of the tokens before: float64 [width]."""

    @property
    def left(self) -> int:
        return len(self.tokens) - self.read

    def restart(self) -> None:
        self.read, self.summary = 0, None


@dataclass(slots=True, eq=False)
class EmbeddingJob:
    """`rank`: the texts are a query with each of its documents, and get scores."""

    id: int
    """Of the request."""
    texts: tuple[Text, ...]
    cancelled: threading.Event
    width: int = 0
    """Numbers in each vector that is sent."""
    pooling: Pooling = "mean"
    normalize: bool = True
    rank: bool = False
    done: int = 0
    """Texts that have been read."""
    scores: list[float] = field(default_factory=list)
    """Of the texts, in order."""

    @classmethod
    def of(cls, id_: int, texts: Sequence[Sequence[int]], **settings: Any) -> EmbeddingJob:
        """A job whose texts are these tokens."""
        job = cls(id_, (), **settings)
        job.texts = tuple(Text(job, number, tokens) for number, tokens in enumerate(texts))
        job.scores = [0.0] * len(texts)
        return job

    @property
    def waiting(self) -> Sequence[Text]:
        """The texts that have not been read, the first perhaps in part."""
        return self.texts[self.done :]

    def take(self, text: Text, rows: bytes, width: int) -> list[Vectors]:
        """Add the vectors of the text's next tokens, float32 [n, width]; what is to be sent."""
        import numpy as np

        new = np.frombuffer(rows, "<f4").reshape(-1, width)
        count = len(new)
        if self.pooling == "none":
            unsent = new[max(0, text.sent - text.read) :]  # after a restart some were sent before
            text.read += count
            text.sent = max(text.sent, text.read)
            return self._vectors(text, unsent)
        if self.pooling == "mean":
            total = new.sum(axis=0, dtype=np.float64)
            text.summary = total if text.summary is None else text.summary + total
        elif self.pooling == "last" or text.read == 0:
            text.summary = new[-1 if self.pooling == "last" else 0].astype(np.float64)
        text.read += count
        if text.left:
            return []
        whole = text.summary / len(text.tokens) if self.pooling == "mean" else text.summary
        return self._vectors(text, whole.reshape(1, -1))

    def result(self) -> Embedded | Ranked:
        tokens = tuple(len(text.tokens) for text in self.texts)
        if self.rank:
            return Ranked(tuple(self.scores), tokens)
        return Embedded(self.width, self.pooling, tokens)

    def _vectors(self, text: Text, rows: Any) -> list[Vectors]:
        import numpy as np

        rows = rows[:, : self.width].astype(np.float64)
        if self.normalize:
            lengths = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
            rows = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
        step = max(1, _MOST_BYTES // (4 * self.width))
        parts = (rows[start : start + step] for start in range(0, len(rows), step))
        return [
            Vectors(text.index, len(part), base64.b64encode(part.astype("<f4").tobytes()).decode())
            for part in parts
        ]
