"""How fast a model reads and generates, measured as llama-bench does.

Random tokens, nothing sampled, and logits only where a prompt ends: llama.cpp
`tools/llama-bench/llama-bench.cpp`. Nothing but the model's own work is in the time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from localq.engine.llama_model import Interrupted, LlamaModel
from localq.engine.protocol import Failed, Measure, Measured

__all__ = ["measure"]


def measure(
    model: LlamaModel, request: Measure, cancelled: Callable[[], bool]
) -> Measured | Failed:
    """Forget everything, then read a prompt; forget that, then generate."""
    before = model.n_threads, model.n_threads_batch
    model.set_threads(request.n_threads or before[0], request.n_threads_batch or before[1])
    tokens = _random_tokens(model, max(request.n_prompt, request.n_generate))
    try:
        prompt_seconds = 0.0
        if request.n_prompt:
            model.start_anew()
            started = time.perf_counter()
            model.read_prompt(tokens[: request.n_prompt], cancelled)
            model.wait()
            prompt_seconds = time.perf_counter() - started
        model.start_anew()
        token_seconds: list[float] = []
        for token in tokens[: request.n_generate]:
            if cancelled():
                raise Interrupted
            started = time.perf_counter()
            model.read(token)
            model.wait()
            token_seconds.append(time.perf_counter() - started)
    except Interrupted:
        return Failed("cancelled")
    finally:
        model.start_anew()
        model.set_threads(*before)
    return Measured(prompt_seconds, tuple(token_seconds))


def _random_tokens(model: LlamaModel, count: int) -> list[int]:
    """Always the same ones; the first is BOS where the model wants one."""
    choose = random.Random(0)
    tokens = [choose.randrange(model.n_vocab) for _ in range(count)]
    if tokens and model.bos is not None:
        tokens[0] = model.bos
    return tokens
