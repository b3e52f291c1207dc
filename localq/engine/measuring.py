"""How fast a model reads and generates, measured as llama-bench does.

Random tokens, nothing sampled, and logits only where a prompt ends: llama.cpp
`tools/llama-bench/llama-bench.cpp`. Nothing but the model's own work is in the time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from localq.engine.llama_context import Interrupted, LlamaContext, Part
from localq.engine.llama_model import LlamaModel
from localq.engine.protocol import Measure, Measured

__all__ = ["measure"]


def measure(
    model: LlamaModel, context: LlamaContext, request: Measure, cancelled: Callable[[], bool]
) -> Measured:
    """Forget everything, then read a prompt; forget that, then generate. Interrupted."""
    before = context.n_threads, context.n_threads_batch
    context.set_threads(request.n_threads or before[0], request.n_threads_batch or before[1])
    tokens = _random_tokens(model, max(request.n_prompt, request.n_generate))
    try:
        prompt_seconds = 0.0
        if request.n_prompt:
            context.forget_all()
            started = time.perf_counter()
            for start in range(0, request.n_prompt, context.n_batch):
                part = tokens[start : min(start + context.n_batch, request.n_prompt)]
                _read(context, Part(0, start, part, outputs=1), cancelled)
            context.wait()
            prompt_seconds = time.perf_counter() - started
        context.forget_all()
        token_seconds: list[float] = []
        for position, token in enumerate(tokens[: request.n_generate]):
            started = time.perf_counter()
            _read(context, Part(0, position, [token], outputs=1), cancelled)
            context.wait()
            token_seconds.append(time.perf_counter() - started)
    finally:
        context.forget_all()
        context.set_threads(*before)
    return Measured(prompt_seconds, tuple(token_seconds))


def _read(context: LlamaContext, part: Part, cancelled: Callable[[], bool]) -> None:
    context.clear_abort()
    if cancelled():
        raise Interrupted
    context.decode([part])


def _random_tokens(model: LlamaModel, count: int) -> list[int]:
    """Always the same ones; the first is BOS where the model wants one."""
    choose = random.Random(0)
    tokens = [choose.randrange(model.n_vocab) for _ in range(count)]
    if tokens and model.bos is not None:
        tokens[0] = model.bos
    return tokens
