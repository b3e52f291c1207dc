"""One model's weights and vocabulary in llama.cpp's memory, through its C functions.

Only the engine's own process uses this: llama.cpp may abort the process it lives in. The C
functions come in as `api` (the module `llama_cpp.llama_cpp`), so that importing this is free.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Literal, TypeAlias

from localq.engine.llama_log import LogTail
from localq.engine.llama_options import metadata_text, model_params
from localq.engine.memory_report import BufferMemory, buffer_memory, offloaded_layers
from localq.engine.settings import LoadSettings
from localq.engine.space_prefix import SpacePrefix
from localq.errors import LocalqError
from localq.formats.adapter import Adapter, read_adapter
from localq.messages import msg

__all__ = ["LlamaError", "LlamaModel", "Recall"]

Recall: TypeAlias = Literal["any", "window", "whole"]
"""What of a sequence's memory can be gone back to: any beginning of it; one whose latest tokens are
still within the sliding window; nothing but the whole, as recurrent layers keep only a state."""


_BYTE_BY_BYTE = (1, 2)
"""LLAMA_VOCAB_TYPE_ of SentencePiece's and of byte-level BPE: no part of a text is left out."""
_WORTH_ESTIMATING = 1 << 18
"""Characters."""


class LlamaError(Exception):
    """llama.cpp refused; the message is its reason."""

    def __init__(self, message: str, *, unsupported: bool = False) -> None:
        super().__init__(message)
        self.unsupported = unsupported


class LlamaModel:
    """Weights and a vocabulary. What does not compute may be called from any thread.

    LlamaError from any method says why llama.cpp refused.
    """

    def __init__(self, api: Any, settings: LoadSettings, log: LogTail) -> None:
        self.api = api
        self._log: Sequence[str] = ()
        log.clear()
        try:
            params, _kept = model_params(api, settings)
        except (OSError, AttributeError) as error:
            raise LlamaError(f"experts cannot be kept in host memory: {error}") from error
        with log.recorded() as self._log:
            self.handle = api.llama_model_load_from_file(os.fsencode(settings.path), params)
        if not self.handle:
            raise LlamaError(log.reason(msg("llama.cpp gave no reason")))
        self.adapters = self._load_adapters(settings.adapters, log)
        self.vocab = api.llama_model_get_vocab(self.handle)
        self._space_prefix = SpacePrefix(api, self.handle, self.vocab)
        self.n_vocab = int(api.llama_vocab_n_tokens(self.vocab))
        self.n_ctx_train = max(0, int(api.llama_model_n_ctx_train(self.handle)))

    def _load_adapters(
        self, adapters: Sequence[Adapter], log: LogTail
    ) -> tuple[tuple[Any, float], ...]:
        """Each with its scale; they are freed with the model."""
        architecture = metadata_text(self.api, self.handle, "general.architecture")
        loaded = []
        for adapter in adapters:
            log.clear()
            handle, reason = None, ""
            try:
                read_adapter(adapter.path, architecture)
                path = os.fsencode(adapter.path)
                handle = self.api.llama_adapter_lora_init(self.handle, path)
            except LocalqError as error:
                reason = str(error)
            if not handle:
                self.close()
                raise LlamaError(
                    reason or f"{adapter.path}: {log.reason(msg('llama.cpp gave no reason'))}"
                )
            loaded.append((handle, adapter.scale))
        return tuple(loaded)

    def close(self) -> None:
        """Give the memory back. The object is of no use afterwards."""
        if self.handle:
            self.api.llama_model_free(self.handle)
        self.handle = None

    @property
    def n_gpu_layers(self) -> int:
        """Layers that are on devices, the output included."""
        return offloaded_layers(self._log)

    @property
    def memory(self) -> tuple[BufferMemory, ...]:
        """What llama.cpp allocated for the weights."""
        return buffer_memory(self._log)

    @property
    def log_lines(self) -> Sequence[str]:
        """What llama.cpp said while it loaded."""
        return self._log

    @property
    def description(self) -> str:
        buffer = ctypes.create_string_buffer(256)
        self.api.llama_model_desc(self.handle, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    @cached_property
    def n_swa(self) -> int:
        """Tokens in the sliding window; 0 without one."""
        return max(0, int(self.api.llama_model_n_swa(self.handle)))

    @cached_property
    def recall(self) -> Recall:
        api = self.api
        if api.llama_model_is_recurrent(self.handle) or api.llama_model_is_hybrid(self.handle):
            return "whole"
        return "window" if self.n_swa else "any"

    @cached_property
    def has_attention(self) -> bool:
        """Whether any layer looks at earlier tokens themselves."""
        return not self.api.llama_model_is_recurrent(self.handle)

    @cached_property
    def looks_ahead(self) -> bool:
        """Whether each token sees those behind it too, as in models made for vectors."""
        return self.metadata("attention.causal") == "false"

    def metadata(self, key: str) -> str:
        """A value of the file, by its key without the architecture; "" where it is not there."""
        architecture = metadata_text(self.api, self.handle, "general.architecture")
        return metadata_text(self.api, self.handle, f"{architecture}.{key}")

    def check_generates(self) -> None:
        """LlamaError if this is a model of another kind, such as an encoder."""
        api = self.api
        encodes = api.llama_model_has_encoder(self.handle) or self.looks_ahead
        if encodes or not api.llama_model_has_decoder(self.handle):
            raise LlamaError("an encoder model does not continue text", unsupported=True)
        if api.llama_model_is_diffusion(self.handle):
            raise LlamaError(
                "a diffusion model does not write text token by token", unsupported=True
            )

    def check_tokens(self, tokens: Sequence[int]) -> None:
        """LlamaError for a token that the vocabulary does not have."""
        if tokens and not (min(tokens) >= 0 and max(tokens) < self.n_vocab):
            wrong = next(token for token in tokens if not 0 <= token < self.n_vocab)
            raise LlamaError(f"invalid token {wrong}: the vocabulary has {self.n_vocab:,}")

    def tokenize(
        self,
        text: str,
        *,
        add_special: bool,
        parse_special: bool,
        whole: bool = False,
        goes_on: bool = False,
    ) -> list[int]:
        """The tokens of `text`. `add_special` adds what the model wants in front of a text (BOS),
        but no end-of-text token behind it, as a prompt is there to be continued; unless the text
        is `whole`. `goes_on`: it is not the beginning."""
        if not goes_on:
            text = self._space_prefix.of(text, lambda part: self._ids(part, False, parse_special))
        tokens = self._ids(text, add_special, parse_special)
        if add_special and not whole and self.api.llama_vocab_get_add_eos(self.vocab):
            eos = self.api.llama_vocab_eos(self.vocab)
            if len(tokens) > 1 and tokens[-1] == eos:
                tokens.pop()
        return tokens

    def least_tokens(self, text: str) -> int:
        """So many tokens `text` has at the least, found without reading it: a text of megabytes
        that fits nowhere takes nobody's time. 0 where that cannot be told."""
        if len(text) < _WORTH_ESTIMATING or not self._longest_token:
            return 0
        return len(text) // self._longest_token

    @cached_property
    def _longest_token(self) -> int:
        """The most bytes of a text that one token stands for; 0: any number."""
        api, vocab = self.api, self.vocab
        if api.llama_vocab_type(vocab) not in _BYTE_BY_BYTE:
            return 0
        return max(len(api.llama_vocab_get_text(vocab, id_) or b"") for id_ in range(self.n_vocab))

    def _ids(self, text: str, add_special: bool, parse_special: bool) -> list[int]:
        data = text.encode("utf-8", "replace")
        capacity = len(data) + 2
        buffer = (ctypes.c_int32 * capacity)()
        count = self.api.llama_tokenize(
            self.vocab, data, len(data), buffer, capacity, add_special, parse_special
        )
        if count < 0:
            buffer = (ctypes.c_int32 * max(0, -count))()
            count = self.api.llama_tokenize(
                self.vocab, data, len(data), buffer, len(buffer), add_special, parse_special
            )
        if count < 0:
            raise LlamaError(f"a text of {len(data):,} bytes could not be tokenised")
        return list(buffer[:count])

    def first_other_token(self, other: LlamaModel) -> int | None:
        """The first token that stands for another text in the other's vocabulary of the same size;
        None: there is none."""
        text = self.api.llama_vocab_get_text
        return next(
            (i for i in range(self.n_vocab) if text(self.vocab, i) != text(other.vocab, i)), None
        )

    def named(self, texts: Iterable[str]) -> frozenset[int]:
        """The tokens that these texts name, of those that are one token."""
        found = [self._ids(text, False, True) for text in texts]
        return frozenset(tokens[0] for tokens in found if len(tokens) == 1)

    def piece(self, token: int, *, control: bool = False) -> bytes:
        """The bytes a token adds to the text; none for control tokens, unless with `control`."""
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = self.api.llama_token_to_piece(self.vocab, token, buffer, size, 0, control)
            if count >= 0:
                return buffer.raw[:count]
            size = -count

    def ends(self, token: int) -> bool:
        """Whether the model ends its text with this token."""
        return bool(self.api.llama_vocab_is_eog(self.vocab, token))

    @cached_property
    def eog(self) -> tuple[int, ...]:
        """All tokens with which the model ends its text."""
        return tuple(token for token in range(self.n_vocab) if self.ends(token))

    @property
    def bos(self) -> int | None:
        """The token that begins a text, where the model wants one."""
        if not self.api.llama_vocab_get_add_bos(self.vocab):
            return None
        return int(self.api.llama_vocab_bos(self.vocab))
