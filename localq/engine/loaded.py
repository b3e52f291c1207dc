"""A loaded model and what it answers."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from localq.engine.draft_model import DraftModel
from localq.engine.embedding_inputs import EmbeddingInputs
from localq.engine.embedding_job import EmbeddingJob
from localq.engine.embeddings import Embeddings
from localq.engine.generations import Generations
from localq.engine.grammar import gbnf
from localq.engine.llama_context import Interrupted, LlamaContext
from localq.engine.llama_log import LogTail
from localq.engine.llama_model import LlamaError, LlamaModel
from localq.engine.llama_sampler import GrammarRefused, TokenSampler
from localq.engine.measuring import measure
from localq.engine.mode import EngineMode, chosen_mode
from localq.engine.picture_reader import PictureReader
from localq.engine.picture_tokens import is_picture
from localq.engine.projector import Projector
from localq.engine.prompt_lookup import PromptLookup
from localq.engine.protocol import (
    Detokenize,
    Done,
    Embed,
    Failed,
    Generate,
    LoadBeside,
    LoadedModel,
    Logits,
    Measure,
    Observe,
    Rank,
    Reply,
    SaveActivations,
    SaveStates,
    Score,
    Text,
    Tokenize,
    Tokens,
)
from localq.engine.resident import resident_memory
from localq.engine.sequence import Sequence
from localq.engine.settings import LoadSettings
from localq.engine.sight import Sight
from localq.engine.state_store import StateStore, file_fingerprint
from localq.engine.stop_strings import StopStrings
from localq.messages import msg

if TYPE_CHECKING:
    from localq.engine.activations import Observation
    from localq.engine.scoring import Scoring

__all__ = ["Alone", "Loaded"]

Alone: TypeAlias = LoadBeside | Logits | Measure | Observe | SaveActivations | SaveStates | Score
"""Requests that have the whole context to themselves."""


class Loaded:
    """A model, its contexts, and the texts that it is at work on. LlamaError from any method.

    `tokenize`, `prepare` and `prepare_embedding` may be called from another thread than the rest.
    """

    def __init__(
        self,
        api: Any,
        settings: LoadSettings,
        log: LogTail,
        send: Callable[[int, Reply], None],
    ) -> None:
        self._settings = settings
        self._log = log
        self._observation: Observation | None = None
        self.model = model = LlamaModel(api, settings, log)
        self._inputs = EmbeddingInputs(model, settings.path, settings.n_ctx)
        self._embeddings = Embeddings(model, settings, log, self._inputs.limit, send)
        self._generations: Generations | None = None
        self._scoring: Scoring | None = None
        self._draft: DraftModel | None = None
        try:
            self._context = self._open(log)
            if settings.draft is not None and settings.n_draft:
                self._draft = self._open_draft(settings.draft, log)
        except LlamaError:
            model.close()
            raise
        if self._context is not self._embeddings.context:
            self._generations = Generations(
                model,
                self._context,
                send,
                adapt=settings.adapt_threads,
                checkpoint_bytes=settings.checkpoint_bytes,
                states=self._states(),
                draft=self._draft,
            )
        self._sight = Sight(
            model,
            settings,
            log,
            most_at_once=min(self._context.n_batch, self._context.n_ubatch),
            on_load=self._read_pictures,
        )

    def _read_pictures(self, projector: Projector) -> None:
        self._generating.pictures = PictureReader(self._context, projector)

    def _open(self, log: LogTail) -> LlamaContext:
        """A context that generates; where the model or its user does not want that, that of the
        vectors."""
        model, settings = self.model, self._settings
        if settings.purpose == "text" and not model.looks_ahead:
            context = LlamaContext(model, settings, log)
            if context.has_memory:
                return context
            context.close()
        return self._embeddings.open()

    def _open_draft(self, path: Path, log: LogTail) -> DraftModel:
        if self._context is self._embeddings.context or self.model.recall != "any":
            raise LlamaError(msg("a draft is of no use: what was read cannot be taken back"))
        try:
            return DraftModel(path, self.model, self._settings, self._context.n_ctx, log)
        except LlamaError:
            self._context.close()
            raise

    def close(self) -> None:
        """Give the memory back. The object is of no use afterwards."""
        if self._draft:
            self._draft.close()
        if self._scoring:
            self._scoring.close()
        if self._generations:
            self._generations.close()
            self._context.close()
        self._sight.close()
        self._embeddings.close()
        self.model.close()

    @property
    def busy(self) -> bool:
        """Whether there is something for `step` to do."""
        generations = self._generations
        return self._embeddings.busy or (generations is not None and generations.busy)

    def add(self, one: Sequence | EmbeddingJob) -> None:
        """Begin with what was prepared."""
        if isinstance(one, EmbeddingJob):
            self._embeddings.add(one)
        else:
            self._generating.add(one)

    def step(self) -> None:
        """One batch of the texts that grow, and one of those to embed: neither waits long for the
        other."""
        if self._generations and self._generations.busy:
            self._generations.step()
        if self._embeddings.busy:
            self._embeddings.step()

    def hurry(self, id_: int, *, alone: bool) -> None:
        """Request `id_` was cancelled; `alone`: `answer` is at it. From any thread."""
        if alone:
            self._context.abort()
            if self._scoring:
                self._scoring.hurry()
        if self._generations:
            self._generations.hurry(id_)
        self._embeddings.hurry(id_)

    def describe(self, seconds: float) -> LoadedModel:
        """What was loaded, which took so long."""
        model, context, settings = self.model, self._context, self._settings
        resident = resident_memory()
        return LoadedModel(
            n_ctx=context.n_ctx if self._generations else self._inputs.limit,
            n_ctx_train=model.n_ctx_train,
            n_vocab=model.n_vocab,
            n_threads=context.n_threads,
            description=model.description,
            load_seconds=seconds,
            n_threads_batch=context.n_threads_batch,
            n_batch=context.n_batch,
            n_ubatch=context.n_ubatch,
            n_gpu_layers=model.n_gpu_layers,
            type_k=settings.type_k,
            type_v=settings.type_v,
            flash_attn=context.flash_attn,
            n_seq_max=settings.n_seq_max,
            build=_build(),
            memory=(*context.memory, *(self._draft.memory if self._draft else ())),
            resident_bytes=resident.resident_bytes,
            anonymous_bytes=resident.anonymous_bytes,
        )

    def tokenize(self, request: Tokenize) -> Tokens:
        tokens = self._sight.tokens(
            request.text,
            request.pictures,
            add_special=request.add_special,
            parse_special=request.parse_special,
        )
        return Tokens(tuple(tokens))

    def detokenize(self, request: Detokenize) -> Text:
        self.model.check_tokens(request.tokens)
        pieces = (self.model.piece(token, control=True) for token in request.tokens)
        return Text(b"".join(pieces).decode("utf-8", "replace"))

    @property
    def _generating(self) -> Generations:
        self.model.check_generates()
        if self._generations is None:
            raise LlamaError("the model was loaded for vectors and writes no text")
        return self._generations

    def prepare_embedding(
        self, id_: int, request: Embed | Rank, cancelled: threading.Event
    ) -> EmbeddingJob | Failed:
        """The texts of a request, ready to be added."""
        if isinstance(request, Rank):
            return self._inputs.rank(id_, request, cancelled)
        return self._inputs.embed(id_, request, cancelled)

    def prepare(self, id_: int, request: Generate, cancelled: threading.Event) -> Sequence | Failed:
        """The text to be, ready to be added; UsageError for a wrong grammar."""
        model, params = self.model, request.sampling
        assert self._generating
        prompt = request.prompt
        if isinstance(prompt, str):
            if too_long := self._too_long(model.least_tokens(prompt), room=1, least=True):
                return too_long
            prompt = tuple(
                self._sight.tokens(prompt, request.pictures, add_special=True, parse_special=True)
            )
        if not prompt:
            return Failed("there is nothing to continue: the prompt is empty")
        if too_long := self._too_long(len(prompt), room=1):
            return too_long
        pictures = self._sight.places(list(prompt), request.pictures)
        text = [token for token in prompt if not is_picture(token)]
        model.check_tokens(text)
        model.check_tokens([one.token for one in params.logit_bias])
        grammar = gbnf(params.grammar, params.json_schema)
        seed = secrets.randbelow(2**32 - 1) if params.seed is None else params.seed
        try:
            sampler = TokenSampler(
                model, params, seed=seed, grammar=grammar, n_ctx=self._context.n_ctx
            )
        except GrammarRefused as error:
            return Failed(str(error), kind="usage")
        sampler.read(text)
        stops = StopStrings(params.stop)
        # Where memory cannot be cut back, wrong guesses could not be taken back; and pictures are
        # no words that could come again.
        guesses = self._settings.n_draft and model.recall == "any" and not pictures
        lookup = PromptLookup(prompt) if guesses else None
        return Sequence(
            id_,
            len(prompt),
            list(prompt),
            params,
            sampler,
            cancelled,
            stops,
            shown=model.named(params.markers),
            pictures=pictures,
            lookup=lookup,
        )

    def _states(self) -> StateStore | None:
        settings = self._settings
        if settings.state_folder is None:
            return None
        try:
            file = file_fingerprint(settings.path)
            adapters = [(file_fingerprint(one.path), one.scale) for one in settings.adapters]
        except OSError:
            return None
        cache = settings.type_k, settings.type_v, self._context.flash_attn
        key = "\n".join(map(str, (file, self.model.description, _build(), *cache, *adapters)))
        return StateStore(settings.state_folder, key, settings.state_bytes)

    def answer(self, request: Alone, cancelled: Callable[[], bool]) -> Reply:
        """For when no text is at work. What had been read is forgotten."""
        if isinstance(request, SaveStates):
            if self._generations:
                self._generations.memory.save_states()
            return Done()
        memory = self._generating.memory
        memory.forget_all()
        try:
            match request:
                case Logits(tokens, output):
                    return self._logits(tokens, output, cancelled)
                case Measure():
                    longest = max(request.n_prompt, request.n_generate)
                    if too_long := self._too_long(longest, room=0):
                        return too_long
                    self.model.check_generates()
                    return measure(self.model, self._context, request, cancelled)
                case Observe(tokens):
                    return self._observe(tokens, cancelled)
                case LoadBeside(settings):
                    return self._load_beside(settings)
                case Score():
                    return self._scorer().score(request, cancelled)
                case SaveActivations(output):
                    if self._observation is None:
                        return Failed("nothing has been observed")
                    try:
                        self._observation.save(output)
                    except OSError as error:
                        return _cannot_write(output, error)
                    return Done()
        except Interrupted:
            return Failed("cancelled")
        finally:
            memory.forget_all()

    def _logits(
        self, tokens: tuple[int, ...], output: Path, cancelled: Callable[[], bool]
    ) -> Reply:
        if too_long := self._too_long(len(tokens), room=0):
            return too_long
        self.model.check_generates()
        self.model.check_tokens(tokens)
        try:
            with output.open("wb") as file:
                self._context.write_logits(tokens, file, cancelled)
        except OSError as error:
            return _cannot_write(output, error)
        return Done()

    def _observe(self, tokens: tuple[int, ...], cancelled: Callable[[], bool]) -> Reply:
        from localq.engine.activations import Observation  # imports numpy

        if too_long := self._too_long(len(tokens), room=0):
            return too_long
        self.model.check_generates()
        self.model.check_tokens(tokens)
        if self._observation is None:
            self._observation = Observation(self.model.api, self._context)
        self._observation.read(tokens, cancelled)
        return Done()

    def _scorer(self) -> Scoring:
        from localq.engine.scoring import Scoring  # imports numpy

        if self._scoring is None:
            self._scoring = Scoring(self.model, self._settings, self._log)
        return self._scoring

    def _load_beside(self, settings: LoadSettings) -> Reply:
        try:
            self._scorer().add(settings)
        except LlamaError as error:
            return Failed(
                f"{settings.path}: cannot be loaded: {error}",
                kind="unsupported" if error.unsupported else "engine",
            )
        return Done()

    def _too_long(self, count: int, *, room: int, least: bool = False) -> Failed | None:
        n_ctx = self._context.n_ctx
        if count + room <= n_ctx:
            return None
        number = f"at least {count:,}" if least else f"{count:,}"
        return Failed(
            f"the prompt is {number} tokens long; the context holds {n_ctx:,}",
            hint="shorten it, or load the model with a larger context",
        )


def _build() -> str:
    name = "llama-cpp-python"
    mode = chosen_mode() or EngineMode()
    how = "" if mode == EngineMode() else f" ({mode})"  # which is a matter of speed, too
    try:
        return f"{name} {version(name)}{how}"
    except PackageNotFoundError:
        return f"{name}{how}"


def _cannot_write(output: Path, error: OSError) -> Failed:
    return Failed(f"{output}: cannot be written: {error.strerror or error}", kind="storage")
