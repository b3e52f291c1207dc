"""Texts to embed or to rank, as tokens: checked before anything is computed."""

from __future__ import annotations

import re
import threading
from functools import cached_property
from pathlib import Path

from localq.engine.embedding_job import EmbeddingJob
from localq.engine.embedding_requests import POOLINGS, Embed, Pooling, Rank
from localq.engine.llama_model import LlamaError, LlamaModel
from localq.engine.protocol import Failed

__all__ = ["EmbeddingInputs"]

_USUAL_CONTEXT = 4096
_HEADS = ("cls.weight", "cls.output.weight")
"""What makes scores of a text's vector."""
_MOST_SCORES = 2
"""A model with more classifies; one with two says yes and no, in this order."""


class EmbeddingInputs:
    """For any thread. LlamaError from any method for a model of another kind.

    `n_ctx`: the tokens that the user has room for; None: as many as the model was trained with.
    """

    def __init__(self, model: LlamaModel, path: Path, n_ctx: int | None) -> None:
        self._model = model
        self._path = path
        trained = model.n_ctx_train
        self.limit = n_ctx or trained or _USUAL_CONTEXT
        if model.looks_ahead and trained:  # there are no positions beyond
            self.limit = min(self.limit, trained)

    def embed(self, id_: int, request: Embed, cancelled: threading.Event) -> EmbeddingJob | Failed:
        model = self._model
        self._check_reads()
        width = int(model.api.llama_model_n_embd_out(model.handle))
        if request.dimensions is not None and request.dimensions > width:
            return Failed(
                f"the model's vectors have {width:,} numbers, not {request.dimensions:,}",
                kind="usage",
            )
        pooling = request.pooling or self.pooling
        if pooling is None:
            return Failed(
                "this model ranks texts and says nothing of vectors",
                hint="localq rerank, or name a pooling",
                kind="unsupported",
            )
        for number, one in enumerate(request.inputs):
            least = model.least_tokens(one) if isinstance(one, str) else 0
            if least > self.limit and not request.truncate:
                return self._too_long(number, f"at least {least:,}")
        texts = [self._tokens(one) for one in request.inputs]
        if problem := self._fit(texts, truncate=request.truncate):
            return problem
        normalize = pooling != "none" if request.normalize is None else request.normalize
        return EmbeddingJob.of(
            id_,
            texts,
            cancelled=cancelled,
            width=request.dimensions or width,
            pooling=pooling,
            normalize=normalize,
        )

    def rank(self, id_: int, request: Rank, cancelled: threading.Event) -> EmbeddingJob | Failed:
        self._check_reads()
        if reason := self._no_ranker:
            return Failed(reason, kind="unsupported", hint="take a model made to rerank")
        texts = [self._pair(request.query, document) for document in request.documents]
        if problem := self._fit(texts, truncate=request.truncate):
            return problem
        return EmbeddingJob.of(id_, texts, cancelled=cancelled, rank=True)

    @cached_property
    def pooling(self) -> Pooling | None:
        """What the model says; the mean, as with sentence-transformers, where it says nothing.
        None: it is there to rank."""
        number = self._model.metadata("pooling_type")
        if not number.isdecimal():
            return "mean"
        return POOLINGS[int(number)] if int(number) < len(POOLINGS) else None

    @cached_property
    def _no_ranker(self) -> str | None:
        """Why the model gives no scores. llama.cpp would give numbers without meaning."""
        from localq.formats.gguf import read_gguf

        names = {tensor.name for tensor in read_gguf(self._path).tensors}
        if not names.intersection(_HEADS):
            return "this model gives vectors or text, and no scores"
        count = int(self._model.api.llama_model_n_cls_out(self._model.handle))
        if count > _MOST_SCORES:
            return f"this model sorts texts into {count:,} classes, and gives no scores"
        return None

    def _tokens(self, text: str | tuple[int, ...]) -> list[int]:
        if isinstance(text, str):
            return self._model.tokenize(text, add_special=True, parse_special=True, whole=True)
        self._model.check_tokens(text)
        return list(text)

    def _check_reads(self) -> None:
        api, handle = self._model.api, self._model.handle
        if api.llama_model_has_encoder(handle):
            raise LlamaError("a model of encoder and decoder gives no vectors", unsupported=True)
        if api.llama_model_is_diffusion(handle):
            raise LlamaError("a diffusion model gives no vectors", unsupported=True)

    def _pair(self, query: str, document: str) -> list[int]:
        """A query and a document as llama-server joins them: in the model's own words where it has
        a template for that, else [BOS] query [EOS] [SEP] document [EOS]."""
        model, api, vocab = self._model, self._model.api, self._model.vocab
        if template := api.llama_model_chat_template(model.handle, b"rerank"):
            text = template.decode("utf-8", "replace")
            parts = {"{query}": query, "{document}": document}
            return model.tokenize(_filled(text, parts), add_special=False, parse_special=True)

        def plain(text: str) -> list[int]:
            return model.tokenize(text, add_special=False, parse_special=False)

        end = int(api.llama_vocab_eos(vocab))
        sep = int(api.llama_vocab_sep(vocab))
        ends = [end if end >= 0 else sep] if api.llama_vocab_get_add_eos(vocab) else []
        separates = [sep] if api.llama_vocab_get_add_sep(vocab) else []
        begins = [model.bos] if model.bos is not None else []
        return [*begins, *plain(query), *ends, *separates, *plain(document), *ends]

    def _fit(self, texts: list[list[int]], *, truncate: bool) -> Failed | None:
        for number, tokens in enumerate(texts):
            if not tokens:
                return Failed(f"text {number + 1} is empty", kind="usage")
            if len(tokens) > self.limit and truncate:
                del tokens[self.limit - 1 : -1]  # the token that ends a text stays
            if len(tokens) > self.limit:
                return self._too_long(number, f"{len(tokens):,}")
        return None

    def _too_long(self, number: int, tokens: str) -> Failed:
        return Failed(
            f"text {number + 1} is {tokens} tokens long; the model reads at most {self.limit:,}",
            hint="split it into several texts, or cut off its end: --truncate",
            kind="usage",
        )


def _filled(template: str, parts: dict[str, str]) -> str:
    """The template with every name replaced at once: a query may hold the name of a part."""
    names = "|".join(map(re.escape, parts))
    return re.sub(names, lambda found: parts[found[0]], template)
