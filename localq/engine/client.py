"""The object the rest of localq speaks to when a model has to run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from localq.engine.embedding_requests import Embed, Embedded, Pooling, Rank, Ranked
from localq.engine.embedding_result import EmbeddedText, Embedding, Input, VectorCollector, batches
from localq.engine.process import EngineProcess, Gone
from localq.engine.protocol import (
    Detokenize,
    Done,
    Failed,
    Generate,
    Generated,
    Load,
    LoadBeside,
    LoadedModel,
    Logits,
    Measure,
    Measured,
    MeasureMemory,
    Observe,
    Part,
    Pictures,
    Piece,
    Request,
    ResidentMemory,
    SaveActivations,
    SaveStates,
    Score,
    Scores,
    Stop,
    Text,
    Tokenize,
    TokenLogprob,
    Tokens,
    Vectors,
)
from localq.engine.sampling import SamplingParams
from localq.engine.settings import LoadSettings
from localq.errors import (
    Cancelled,
    EngineClosed,
    EngineError,
    LocalqError,
    StorageError,
    UnsupportedError,
    UsageError,
)
from localq.messages import msg

__all__ = ["Embedding", "Engine", "Generation", "LoadSettings", "LoadedModel", "SamplingParams"]

_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Generation:
    text: str
    prompt_tokens: int
    generated_tokens: int
    prompt_seconds: float
    generate_seconds: float
    stop: Stop
    reused_tokens: int = 0
    """Prompt tokens that did not have to be read again."""
    n_threads: int = 0
    """Threads that generated, at the end."""
    tokens: tuple[int, ...] = ()
    """What was generated, without the token that ended it."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of each token, where SamplingParams.logprobs asks for them."""
    draft_tokens: int = 0
    """Tokens that were guessed in advance, and how many of the guesses were right."""
    accepted_tokens: int = 0


class Engine:
    """llama.cpp in a process of its own. It starts with the first `load`; `close`, or the end of
    a `with` block, ends it and gives its memory back.

    Calls may come from several threads. As many texts as were loaded for (`n_seq_max`) grow at
    the same time, further ones wait; `load`, `logits`, `observe`, `save_activations` and `measure`
    wait until those before them are done.

    A model that is refused raises EngineError, a process that dies EngineCrashed, and one that is
    closed EngineClosed, all of them EngineErrors; `load` then starts anew.
    `log` is the file for llama.cpp's messages; None: a temporary one, kept only after a crash.
    """

    def __init__(self, *, log: Path | None = None) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._worker: EngineProcess | None = None
        self._loaded: LoadSettings | None = None
        """What `revive` loads again."""
        self._reviving = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def log_problem(self) -> StorageError | None:
        """Why the log cannot be written; the engine then writes a temporary one, if any."""
        return self._worker.log_problem if self._worker else None

    @property
    def pid(self) -> int | None:
        """The engine's process, while there is one."""
        return self._worker.process.pid if self._worker else None

    @property
    def is_alive(self) -> bool:
        """Whether there is a process, and it still runs."""
        worker = self._worker
        return worker is not None and worker.is_alive

    def load(self, settings: LoadSettings, *, cancel: threading.Event | None = None) -> LoadedModel:
        """Load a model, in place of the one there was. Cancelled once `cancel` is set: the engine
        is closed then, as llama.cpp does not stop in between."""
        with self._lock:
            if self._worker is None:
                self._worker = EngineProcess(self._log)
        doing = f"loading {settings.path.name}"
        try:
            loaded = self._ask(Load(settings), LoadedModel, doing, cancel=cancel)
            self._loaded = settings
            return loaded
        except (Cancelled, KeyboardInterrupt):
            self.close()
            raise

    def revive(self, *, cancel: threading.Event | None = None) -> bool:
        """Load the same model again where the process has ended by itself; whether it had."""
        with self._reviving:
            if self._worker is not None or self._loaded is None:
                return False
            self.load(self._loaded, cancel=cancel)
            return True

    def generate(
        self,
        prompt: str | Sequence[int],
        sampling: SamplingParams,
        *,
        pictures: Pictures | None = None,
        cancel: threading.Event | None = None,
        on_text: Callable[[str], None],
        on_logprobs: Callable[[tuple[TokenLogprob, ...]], None] | None = None,
    ) -> Generation:
        """Continue `prompt`, which is text or tokens. `on_text` gets whole characters as they
        come, in the calling thread; once `cancel` is set it gets no more. `on_logprobs` gets what
        SamplingParams.logprobs asks for, before the text of the same tokens.

        A text is tokenised as `tokenize` does by default. A prompt that begins like others before,
        with their replies, is only read from where they differ. Whatever the callbacks raise stops
        the generation and comes out here.
        """
        texts: list[str] = []
        logprobs: list[TokenLogprob] = []

        def take(piece: Part) -> None:
            assert isinstance(piece, Piece)
            if piece.logprobs:
                logprobs.extend(piece.logprobs)
                if on_logprobs:
                    on_logprobs(piece.logprobs)
            if piece.text:
                texts.append(piece.text)
                on_text(piece.text)

        prompt = prompt if isinstance(prompt, str) else tuple(prompt)
        request = Generate(prompt, sampling, pictures or Pictures())
        done = self._ask(request, Generated, "generating", cancel=cancel, on_part=take)
        return Generation(
            text="".join(texts),
            prompt_tokens=done.prompt_tokens,
            generated_tokens=done.generated_tokens,
            prompt_seconds=done.prompt_seconds,
            generate_seconds=done.generate_seconds,
            stop=done.stop,
            reused_tokens=done.reused_tokens,
            n_threads=done.n_threads,
            tokens=done.tokens,
            logprobs=tuple(logprobs),
            draft_tokens=done.draft_tokens,
            accepted_tokens=done.accepted_tokens,
        )

    def embed(
        self,
        inputs: Sequence[Input],
        *,
        pooling: Pooling | None = None,
        normalize: bool | None = None,
        dimensions: int | None = None,
        truncate: bool = False,
        cancel: threading.Event | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Embedding:
        """The vectors of texts, or of tokens as they are; the rest is as in `Embed`. `on_progress`
        gets the number of texts that are done, in the calling thread.

        They are read together, and beside the texts that are generated. UsageError for a text that
        is empty or too long, and then for none is there a result; Cancelled.
        """
        texts: list[EmbeddedText] = []
        done = Embedded(0, pooling or "mean", ())
        for some in batches(inputs) if inputs else ():
            collected = VectorCollector(len(some))

            def take(part: Part, collected: VectorCollector = collected) -> None:
                assert isinstance(part, Vectors)
                collected.take(part)
                if on_progress:
                    on_progress(len(texts) + part.index + 1)

            request = Embed(
                tuple(one if isinstance(one, str) else tuple(one) for one in some),
                pooling,
                normalize,
                dimensions,
                truncate,
            )
            done = self._stoppable(request, Embedded, msg("embedding"), cancel, take)
            texts.extend(collected.texts(done))
        return Embedding(tuple(texts), done.width, done.pooling)

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        truncate: bool = False,
        cancel: threading.Event | None = None,
    ) -> tuple[float, ...]:
        """How well each document answers the query, as the model says it: the higher the better.
        UsageError, UnsupportedError for a model that was not made for it, Cancelled."""
        scores: list[float] = []
        for some in batches(documents) if documents else ():
            texts = tuple(one for one in some if isinstance(one, str))
            request = Rank(query, texts, truncate)
            scores += self._stoppable(request, Ranked, msg("ranking"), cancel).scores
        return tuple(scores)

    def tokenize(
        self,
        text: str,
        *,
        add_special: bool = True,
        parse_special: bool = True,
        pictures: Pictures | None = None,
    ) -> list[int]:
        """The tokens of `text`. `add_special` puts in front what the model wants there (BOS);
        `parse_special` reads "<|im_end|>" and its like as the tokens they name. Pictures become
        numbers below zero, as many as they take of the context."""
        request = Tokenize(text, add_special, parse_special, pictures or Pictures())
        return list(self._ask(request, Tokens, "tokenising").tokens)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of tokens, those that control by their names; what is no UTF-8 is replaced."""
        return self._ask(Detokenize(tuple(tokens)), Text, msg("reading tokens")).text

    def logits(self, tokens: Sequence[int], output: Path) -> None:
        """Write the logits after each token to `output`: little-endian float32, one row of
        n_vocab for each token. Everything the model had read before is forgotten."""
        self._ask(Logits(tuple(tokens), output.absolute()), Done, msg("computing logits"))

    def observe(self, tokens: Sequence[int], *, cancel: threading.Event | None = None) -> None:
        """Let the model read a part of a longer text, at most n_ctx tokens, and sum up what its
        weights are multiplied with. The sums grow until the next `load`; after Cancelled, or any
        other error, they are of no use."""
        self._stoppable(Observe(tuple(tokens)), Done, msg("reading a text"), cancel)

    def save_activations(self, output: Path) -> None:
        """Write what `observe` has summed up to `output`; `engine.activations.load_sums` reads
        it."""
        self._ask(SaveActivations(output.absolute()), Done, msg("writing activations"))

    def load_beside(self, settings: LoadSettings, *, cancel: threading.Event | None = None) -> None:
        """Load one more model, to `score` with; the next `load` gives its memory back. UsageError
        where it has another vocabulary. After Cancelled the engine is closed, as after `load`."""
        doing = f"loading {settings.path.name}"
        try:
            self._ask(LoadBeside(settings), Done, doing, cancel=cancel)
        except (Cancelled, KeyboardInterrupt):
            self.close()
            raise

    def score(
        self,
        tokens: Sequence[int],
        first: int,
        *,
        rounded: bool = False,
        cancel: threading.Event | None = None,
    ) -> Scores:
        """Let the model, and those beside it, read a part of a longer text, at most n_ctx tokens;
        see `Score`. Cancelled."""
        request = Score(tuple(tokens), first, rounded)
        return self._stoppable(request, Scores, msg("reading a text"), cancel)

    def measure(
        self,
        n_prompt: int,
        n_generate: int,
        *,
        n_threads: int | None = None,
        n_threads_batch: int | None = None,
        cancel: threading.Event | None = None,
    ) -> Measured:
        """Time the reading of `n_prompt` random tokens and the generation of `n_generate`, each
        from an empty context, as llama-bench does. Cancelled."""
        request = Measure(n_prompt, n_generate, n_threads, n_threads_batch)
        return self._stoppable(request, Measured, msg("measuring speed"), cancel)

    def memory(self) -> ResidentMemory:
        """The physical memory that the engine's process holds now."""
        return self._ask(MeasureMemory(), ResidentMemory, msg("measuring memory"))

    def save_states(self) -> None:
        """Keep on disk what texts had in memory, as `close` does (LoadSettings.state_folder)."""
        self._ask(SaveStates(), Done, msg("saving states"))

    def close(self) -> None:
        """End the process, even in the middle of its work. The engine can `load` again."""
        worker, self._worker = self._worker, None
        loaded, self._loaded = self._loaded, None
        if worker:
            worker.close(save=bool(loaded and loaded.state_folder))

    def _stoppable(
        self,
        request: Request,
        expected: type[_R],
        doing: str,
        cancel: threading.Event | None,
        on_part: Callable[[Part], None] | None = None,
    ) -> _R:
        """As `_ask`, for requests without a result where they are cancelled: Cancelled."""
        try:
            return self._ask(request, expected, doing, cancel=cancel, on_part=on_part)
        except EngineError:
            if cancel and cancel.is_set():
                raise Cancelled from None
            raise

    def _ask(
        self,
        request: Request,
        expected: type[_R],
        doing: str,
        *,
        cancel: threading.Event | None = None,
        on_part: Callable[[Part], None] | None = None,
    ) -> _R:
        worker = self._worker
        if worker is None:
            raise EngineClosed(msg("no model is loaded"))
        try:
            reply = worker.ask(request, cancel, on_part)
        except Gone:
            with self._lock:
                if worker.is_closed:  # by close() from another thread
                    raise EngineClosed(
                        msg("the engine was closed while {doing}", doing=doing)
                    ) from None
                if self._worker is worker:
                    self._worker = None
                raise worker.crash(doing) from None
        if isinstance(reply, Failed):
            raise _ERRORS.get(reply.kind, EngineError)(reply.message, reply.hint)
        if not isinstance(reply, expected):
            self.close()
            raise EngineError(
                msg(
                    "the engine answered {kind} while {doing}",
                    kind=type(reply).__name__,
                    doing=doing,
                )
            )
        return reply


_ERRORS: dict[str, type[LocalqError]] = {
    "storage": StorageError,
    "unsupported": UnsupportedError,
    "usage": UsageError,
}
