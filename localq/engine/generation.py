"""Continuing a prompt: the loop that the engine's process spends its life in."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from localq.engine.adapt import ThreadAdapter
from localq.engine.llama_model import Interrupted, LlamaModel
from localq.engine.protocol import Generated, Stop
from localq.engine.sampling import SamplingParams
from localq.engine.utf8 import TextStream

__all__ = ["continue_prompt"]


def continue_prompt(
    model: LlamaModel,
    prompt: Sequence[int],
    sampling: SamplingParams,
    seed: int,
    *,
    adapter: ThreadAdapter | None,
    on_text: Callable[[str], None],
    cancelled: Callable[[], bool],
) -> Generated:
    """Read the prompt and generate after it. With an `adapter`, it chooses the threads."""
    started = time.perf_counter()
    try:
        reused = model.read_prompt(prompt, cancelled)
    except Interrupted:
        return Generated(len(prompt), 0, 0, time.perf_counter() - started, 0.0, "cancelled")
    prompt_read = time.perf_counter()
    text = TextStream()
    stop: Stop = "length"
    generated = 0
    with model.sampler(sampling, seed, prompt) as sample:
        reading = None
        while generated < sampling.max_tokens:
            if cancelled():
                stop = "cancelled"
                break
            token = sample()  # waits for what `read` began
            if adapter and reading is not None:
                adapter.record(time.perf_counter() - reading)
                _follow(model, adapter)
            if model.ends(token):
                stop = "eos"
                break
            generated += 1
            if piece := text.feed(model.piece(token)):
                on_text(piece)
            if model.length == model.n_ctx:
                stop = "context"
                break
            if generated < sampling.max_tokens:
                reading = time.perf_counter()
                model.read(token)
    return Generated(
        prompt_tokens=len(prompt),
        reused_tokens=reused,
        generated_tokens=generated,
        prompt_seconds=prompt_read - started,
        generate_seconds=time.perf_counter() - prompt_read,
        stop=stop,
        n_threads=adapter.settled if adapter else model.n_threads,
    )


def _follow(model: LlamaModel, adapter: ThreadAdapter) -> None:
    if adapter.threads != model.n_threads:
        model.set_threads(adapter.threads, model.n_threads_batch)
