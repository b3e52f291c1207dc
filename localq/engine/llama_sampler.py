"""llama.cpp's samplers, chained as `SamplingParams` say.

The order is that of llama.cpp's `common/sampling.cpp`, its way with grammars too: a token is
chosen as if there were none, and only if it does not fit is the choice made again among those that
do, because trying a grammar on a whole vocabulary takes long.
"""

from __future__ import annotations

import ctypes
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from localq.engine.llama_model import LlamaModel
from localq.engine.sampling import SamplingParams

__all__ = ["Choice", "GrammarRefused", "NothingAllowed", "TokenProbability", "TokenSampler"]

_UNLIKELY = -9999.0
"""Stands for the logarithm of a probability that is 0 in 32 bits; JSON has no infinity."""


class GrammarRefused(Exception):
    """llama.cpp cannot read the grammar."""


class NothingAllowed(Exception):
    """The grammar allows no token of the vocabulary here."""


@dataclass(frozen=True, slots=True)
class TokenProbability:
    token: int
    logprob: float
    """Natural logarithm of what the model alone gives the token, before all settings."""


@dataclass(frozen=True, slots=True)
class Choice:
    token: int
    logprob: float | None = None
    top: tuple[TokenProbability, ...] = ()
    """The likeliest tokens, likeliest first."""


class TokenSampler:
    """Chooses the tokens of one text. Not for several threads at once; `close` it.

    `n_ctx` is the length of the longest text. Raises GrammarRefused.
    """

    def __init__(
        self,
        model: LlamaModel,
        params: SamplingParams,
        *,
        seed: int,
        grammar: str | None = None,
        n_ctx: int,
    ) -> None:
        self._api = api = model.api
        self._model = model
        self._params = params
        self._candidates: _Candidates | None = None
        self._grammar: Any = None
        self._softmax: Any = None
        self._top: Any = None
        self._chain = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
        try:
            for link in _links(model, params, seed, n_ctx):
                api.llama_sampler_chain_add(self._chain, link)
            if grammar is not None:
                text = grammar.encode("utf-8", "replace")
                self._grammar = api.llama_sampler_init_grammar(model.vocab, text, b"root")
                if not self._grammar:
                    raise GrammarRefused("the grammar cannot be read, or has no rule named root")
            if params.logprobs is not None:
                self._softmax = api.llama_sampler_init_dist(0)
                self._top = api.llama_sampler_init_top_k(max(1, params.logprobs))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the memory back. The object is of no use afterwards."""
        for sampler in (self._chain, self._grammar, self._softmax, self._top):
            if sampler:
                self._api.llama_sampler_free(sampler)
        self._chain = self._grammar = self._softmax = self._top = None
        self._candidates = None

    def read(self, tokens: Sequence[int]) -> None:
        """What stands before the text: penalties and DRY look back at it."""
        params = self._params
        windows = [params.penalty_last_n] if params.penalises else []
        windows += [params.dry_penalty_last_n] if params.dry_multiplier else []
        if not windows:
            return
        window = len(tokens) if min(windows) < 0 else max(windows)
        for token in tokens[len(tokens) - min(window, len(tokens)) :]:
            self._api.llama_sampler_accept(self._chain, token)

    def choose(self, context: Any, output: int) -> Choice:
        """The token to follow the batch's token number `output`, which is taken as said.

        The context must have finished its computation. NothingAllowed.
        """
        api = self._api
        if self._grammar is None:
            token = int(api.llama_sampler_sample(self._chain, context, output))
        else:
            token = self._choose_by_grammar(api.llama_get_logits_ith(context, output))
            api.llama_sampler_accept(self._chain, token)
            if not self._model.ends(token):  # llama.cpp aborts where a text ends twice
                api.llama_sampler_accept(self._grammar, token)
        if self._softmax is None:
            return Choice(token)
        return self._with_probabilities(token, api.llama_get_logits_ith(context, output))

    def _choose_by_grammar(self, logits: Any) -> int:
        candidates = self._filled(logits)
        token = candidates.apply(self._chain)
        if self._fits(token):
            return token
        candidates = self._filled(logits)
        self._api.llama_sampler_apply(self._grammar, ctypes.byref(candidates.array))
        if candidates.highest() == -math.inf:
            raise NothingAllowed
        token = candidates.apply(self._chain)
        if not self._fits(token):  # a bias forbids all that the grammar allows
            raise NothingAllowed
        return token

    def _fits(self, token: int) -> bool:
        """Whether the grammar allows the token; llama.cpp ends the process where one is taken
        that it does not."""
        alone = _Candidates(self._api, 1)
        alone.fill_one(token)
        self._api.llama_sampler_apply(self._grammar, ctypes.byref(alone.array))
        return bool(alone.data[0].logit != -math.inf)

    def _with_probabilities(self, token: int, logits: Any) -> Choice:
        candidates = self._filled(logits)
        candidates.apply(self._softmax)
        logprob = _log(candidates.data[token].p)  # in the order of the vocabulary still
        if not self._params.logprobs:
            return Choice(token, logprob)
        self._api.llama_sampler_apply(self._top, ctypes.byref(candidates.array))
        top = candidates.data[: candidates.array.size]
        return Choice(token, logprob, tuple(TokenProbability(one.id, _log(one.p)) for one in top))

    def _filled(self, logits: Any) -> _Candidates:
        if self._candidates is None:
            self._candidates = _Candidates(self._api, self._model.n_vocab)
        self._candidates.fill(logits)
        return self._candidates


class _Candidates:
    """llama.cpp's array of tokens with their logits, which samplers reorder and cut."""

    def __init__(self, api: Any, size: int) -> None:
        self._api = api
        self._size = size
        self.data = (api.llama_token_data * size)()
        self.array = api.llama_token_data_array(self.data, size, -1, False)
        # A candidate is an id, a logit and a probability, of four bytes each.
        numbers = memoryview(self.data).cast("B")
        self._ids, self._floats = numbers.cast("i"), numbers.cast("f")
        self._all = memoryview(array("i", range(size)))

    def fill(self, logits: Any) -> None:
        """All tokens, in order. `logits` points to as many floats."""
        row = ctypes.cast(logits, ctypes.POINTER(ctypes.c_float * self._size)).contents
        self._ids[0::3] = self._all
        self._floats[1::3] = memoryview(row).cast("B").cast("f")
        self._whole()

    def fill_one(self, token: int) -> None:
        self._ids[0], self._floats[1] = token, 1.0
        self._whole()

    def _whole(self) -> None:
        self.array.data, self.array.size = self.data, self._size
        self.array.selected, self.array.sorted = -1, False

    def apply(self, sampler: Any) -> int:
        """The token that it chooses."""
        self._api.llama_sampler_apply(sampler, ctypes.byref(self.array))
        return int(self.array.data[self.array.selected].id)

    def highest(self) -> float:
        greedy = self._api.llama_sampler_init_greedy()
        try:
            self._api.llama_sampler_apply(greedy, ctypes.byref(self.array))
        finally:
            self._api.llama_sampler_free(greedy)
        return float(self.array.data[self.array.selected].logit)


def _log(probability: float) -> float:
    return math.log(probability) if probability > 0 else _UNLIKELY


def _links(model: LlamaModel, params: SamplingParams, seed: int, n_ctx: int) -> Iterator[Any]:
    api, n_vocab = model.api, model.n_vocab
    if biases := [*_biases(model, params)]:
        yield api.llama_sampler_init_logit_bias(
            n_vocab, len(biases), (api.llama_logit_bias * len(biases))(*biases)
        )
    if params.mirostat:
        yield api.llama_sampler_init_temp(params.temperature)
        tau, eta = params.mirostat_tau, params.mirostat_eta
        if params.mirostat == 1:
            yield api.llama_sampler_init_mirostat(n_vocab, seed, tau, eta, 100)
        else:
            yield api.llama_sampler_init_mirostat_v2(seed, tau, eta)
        return
    if params.penalises:
        last = n_ctx if params.penalty_last_n < 0 else params.penalty_last_n
        penalties = params.repeat_penalty, params.frequency_penalty, params.presence_penalty
        yield api.llama_sampler_init_penalties(n_vocab, last, *penalties)
    if params.dry_multiplier:
        yield _dry(model, params, n_ctx)
    if params.is_greedy:
        yield api.llama_sampler_init_greedy()
        return
    if params.top_n_sigma >= 0:
        yield api.llama_sampler_init_top_n_sigma(params.top_n_sigma)
    if params.top_k:
        yield api.llama_sampler_init_top_k(params.top_k)
    if params.typical_p < 1:
        yield api.llama_sampler_init_typical(params.typical_p, 0)
    if params.top_p < 1:
        yield api.llama_sampler_init_top_p(params.top_p, 0)
    if params.min_p > 0:
        yield api.llama_sampler_init_min_p(params.min_p, 0)
    if params.xtc_probability:
        yield api.llama_sampler_init_xtc(params.xtc_probability, params.xtc_threshold, 0, seed)
    yield api.llama_sampler_init_temp_ext(
        params.temperature, params.dynatemp_range, params.dynatemp_exponent
    )
    yield api.llama_sampler_init_dist(seed)


def _biases(model: LlamaModel, params: SamplingParams) -> Iterator[Any]:
    bias = model.api.llama_logit_bias
    for one in params.logit_bias:
        yield bias(one.token, one.bias)
    count = ctypes.c_int32(0)
    banned = model.api.llama_vocab_get_suppress_tokens(model.vocab, ctypes.byref(count))
    for index in range(count.value):  # the model's own list of tokens it must never say
        yield bias(banned[index], -math.inf)
    if params.ignore_eos:
        for token in model.eog:
            yield bias(token, -math.inf)


def _dry(model: LlamaModel, params: SamplingParams, n_ctx: int) -> Any:
    breakers = [text.encode("utf-8", "replace") for text in params.dry_sequence_breakers]
    last = n_ctx if params.dry_penalty_last_n < 0 else params.dry_penalty_last_n
    return model.api.llama_sampler_init_dry(
        model.vocab,
        params.dry_multiplier,
        params.dry_base,
        params.dry_allowed_length,
        last,
        (ctypes.c_char_p * len(breakers))(*breakers),
        len(breakers),
    )
