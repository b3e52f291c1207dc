"""Memory that computing a batch takes besides weights and cache.

llama.cpp does not derive this: it lays out the graph and sees. ggml's allocator gives memory of
what is not needed any more to what comes next, so what counts is the widest place of the graph:
attention, the feed-forward network, or the output. How many tensors live there was read off
measurements over some 60 models (see benchmarks/memory.py), which are linear in the batch and in
the context to the byte.
"""

from __future__ import annotations

from localq.planning.kv_cache import CacheSettings, cells, pad_context
from localq.planning.model_shape import ModelShape

__all__ = ["compute_bytes", "input_bytes", "output_bytes", "pipeline_bytes", "work_bytes"]

_F32 = 4
_INPUTS = 8
"""Numbers for each token besides its embedding: position, row, output, ..."""


def compute_bytes(
    shape: ModelShape, settings: CacheSettings, *, n_outputs: int = 1, layers: bool = True
) -> int:
    """The buffer of a device that computes layers, or without `layers` the output alone."""
    batch = _batch(shape, settings)
    outputs = min(batch, max(n_outputs, settings.n_seq))
    logits = outputs * (shape.n_vocab + 2 * shape.n_embd)
    if not layers:
        return _F32 * (logits + batch * shape.n_embd)
    full, sliding = cells(shape, settings) if shape.causal else (batch, 0)
    masks = _masks(shape, settings)
    flash = settings.flash_attn and shape.flash_attn
    widest = states = 0
    for kind in shape.kinds:
        memory = kind.memory
        scores = 0
        if not flash and (memory.key or not shape.causal):
            scores = kind.heads * (sliding if memory.sliding else full)
        widest = max(widest, kind.attention + scores, kind.feed_forward)
        states = max(states, kind.state)
    tokens = batch * (widest + masks + _INPUTS)
    spare = 0 if flash else batch * masks
    return _F32 * (max(tokens, logits + spare) + settings.n_seq * states)


def input_bytes(shape: ModelShape, settings: CacheSettings) -> int:
    """The buffer of a host that only looks up embeddings for devices."""
    width = 2 * shape.n_embd + shape.n_embd_layers + _masks(shape, settings) + _INPUTS
    return _F32 * _batch(shape, settings) * width


def pipeline_bytes(shape: ModelShape, settings: CacheSettings) -> int:
    """What each device has more where several take turns with one batch after another: llama.cpp
    then keeps four copies of what goes in."""
    return 3 * _F32 * _batch(shape, settings) * (shape.n_embd + _masks(shape, settings))


def output_bytes(shape: ModelShape, settings: CacheSettings, *, n_outputs: int = 1) -> int:
    """The logits that can be asked for."""
    return _F32 * max(n_outputs, settings.n_seq) * shape.n_vocab


def work_bytes(shape: ModelShape, settings: CacheSettings) -> int:
    """What the processor needs to multiply with quantized weights: the other factor as Q8_0."""
    widest = max(max(kind.feed_forward // 3, kind.query) for kind in shape.kinds)
    return _batch(shape, settings) * widest * 34 // 32


def _masks(shape: ModelShape, settings: CacheSettings) -> int:
    """Width of what says which tokens each token sees; flash attention reads it as f16."""
    full, sliding = cells(shape, settings) if shape.causal else (_batch(shape, settings), 0)
    if shape.causal and not any(kind.memory.key for kind in shape.kinds):
        return 0
    flash = settings.flash_attn and shape.flash_attn
    return (full + sliding) // 2 if flash else full + sliding


def _batch(shape: ModelShape, settings: CacheSettings) -> int:
    # Only of a model that generates does llama.cpp bound the batch by the context as it was given.
    n_ctx = settings.n_ctx if shape.causal else pad_context(settings.n_ctx)
    return min(settings.n_ubatch, n_ctx)
