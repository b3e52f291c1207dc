"""One text on its way: what was asked, what has been read, and what came of it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from localq.engine.llama_model import LlamaModel
from localq.engine.llama_sampler import Choice, TokenSampler
from localq.engine.picture_places import PicturePlaces
from localq.engine.prompt_lookup import PromptLookup
from localq.engine.protocol import Generated, Piece, Stop, TokenLogprob
from localq.engine.sampling import SamplingParams
from localq.engine.speculation import Acceptance
from localq.engine.stop_strings import StopStrings
from localq.engine.utf8 import TextStream

__all__ = ["Sequence"]

NO_PICTURES = PicturePlaces(())


@dataclass(slots=True, eq=False)
class Sequence:
    """A prompt and the reply that grows behind it."""

    id: int
    """Of the request."""
    prompt_tokens: int
    tokens: list[int]
    """The prompt, and what was generated."""
    params: SamplingParams
    sampler: TokenSampler
    cancelled: threading.Event
    stops: StopStrings
    shown: frozenset[int] = frozenset()
    """Control tokens that are part of the text."""
    text: TextStream = field(default_factory=TextStream)
    pictures: PicturePlaces = NO_PICTURES
    """Those that are among its tokens."""
    lookup: PromptLookup | None = None
    """Guesses what comes next."""
    looked_up: Acceptance = field(default_factory=Acceptance)
    """How good guesses from the text were."""
    drafting: Acceptance = field(default_factory=Acceptance)
    """How good those of another model were."""
    guesses: list[int] = field(default_factory=list)
    """Read together with the latest token in the current batch."""
    guesser: Acceptance | None = None
    """Which of the two they are."""
    slot: int | None = None
    """Its id in llama.cpp's memory, while it has one."""
    read: int = 0
    """So many of its tokens are in that memory."""
    kept: int = 0
    """So many of those were there when it got the slot."""
    reused: int | None = None
    """Prompt tokens that did not have to be read; None until it has had a slot."""
    started: float = field(default_factory=time.perf_counter)
    prompt_read: float | None = None
    """When the prompt had been read."""
    drafted: int = 0
    accepted: int = 0

    @property
    def generated(self) -> int:
        return len(self.tokens) - self.prompt_tokens

    @property
    def position(self) -> int:
        """Where it goes on in llama.cpp's memory."""
        return self.read - self.pictures.shared(self.read)

    @property
    def is_cancelled(self) -> bool:
        return self.cancelled.is_set()

    @property
    def is_generating(self) -> bool:
        """Whether it waits for nothing but its latest token to be read."""
        return self.prompt_read is not None and self.read == len(self.tokens) - 1

    def take(self, choice: Choice, model: LlamaModel) -> Piece | None:
        """Add a token; what there is to show of it."""

        def piece(token: int) -> bytes:
            return model.piece(token, control=token in self.shown)

        self.tokens.append(choice.token)
        data = piece(choice.token)
        text = self.stops.feed(self.text.feed(data))
        logprobs: tuple[TokenLogprob, ...] = ()
        if choice.logprob is not None:
            top = tuple(
                TokenLogprob(one.token, one.logprob, tuple(piece(one.token))) for one in choice.top
            )
            logprobs = (TokenLogprob(choice.token, choice.logprob, tuple(data), top),)
        return Piece(text, logprobs) if text or logprobs else None

    def result(self, stop: Stop, n_threads: int) -> Generated:
        now = time.perf_counter()
        read = self.prompt_read or now
        return Generated(
            prompt_tokens=self.prompt_tokens,
            reused_tokens=self.reused or 0,
            generated_tokens=self.generated,
            prompt_seconds=read - self.started,
            generate_seconds=now - read,
            stop=stop,
            n_threads=n_threads,
            tokens=tuple(self.tokens[self.prompt_tokens :]),
            draft_tokens=self.drafted,
            accepted_tokens=self.accepted,
        )
