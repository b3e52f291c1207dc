"""llama.cpp's samplers, chained as `SamplingParams` say."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from localq.engine.sampling import SamplingParams

__all__ = ["sampler"]

_PENALTY_WINDOW = 64


@contextmanager
def sampler(
    api: Any, context: Any, vocab: Any, params: SamplingParams, seed: int, prompt: Sequence[int]
) -> Iterator[Callable[[], int]]:
    """A function that chooses the token to follow what the context has read last."""
    chain = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
    try:
        for link in _links(api, vocab, params, seed):
            api.llama_sampler_chain_add(chain, link)
        for token in prompt[-_PENALTY_WINDOW:]:
            api.llama_sampler_accept(chain, token)
        yield lambda: int(api.llama_sampler_sample(chain, context, -1))
    finally:
        api.llama_sampler_free(chain)


def _links(api: Any, vocab: Any, params: SamplingParams, seed: int) -> Iterator[Any]:
    n_vocab = int(api.llama_vocab_n_tokens(vocab))
    count = ctypes.c_int32(0)
    banned = api.llama_vocab_get_suppress_tokens(vocab, ctypes.byref(count))
    if count.value:  # the model's own list of tokens it must never say
        biases = [api.llama_logit_bias(banned[i], float("-inf")) for i in range(count.value)]
        array = (api.llama_logit_bias * count.value)(*biases)
        yield api.llama_sampler_init_logit_bias(n_vocab, count.value, array)
    if params.repeat_penalty != 1:
        penalty = params.repeat_penalty
        yield api.llama_sampler_init_penalties(n_vocab, _PENALTY_WINDOW, penalty, 0.0, 0.0)
    if params.temperature == 0:
        yield api.llama_sampler_init_greedy()
        return
    yield api.llama_sampler_init_top_k(params.top_k)
    yield api.llama_sampler_init_top_p(params.top_p, 1)
    yield api.llama_sampler_init_min_p(params.min_p, 1)
    yield api.llama_sampler_init_temp(params.temperature)
    yield api.llama_sampler_init_dist(seed)
