"""Memory for what a model has read: keys and values, and recurrent states.

Source: llama.cpp `src/llama-kv-cache.cpp`, `src/llama-kv-cache-iswa.cpp`,
`src/llama-memory-recurrent.cpp`.
"""

from __future__ import annotations

from dataclasses import dataclass

from localq.formats.types import TensorType
from localq.planning.attention_layers import LayerMemory
from localq.planning.model_shape import ModelShape

__all__ = ["CacheSettings", "cache_bytes", "cells", "pad_context", "type_fits"]

_PAD = 256  # llama.cpp rounds contexts and windows up to this many tokens
_STATE_BYTES = 4  # recurrent states are f32 whatever the cache's type


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """`n_ctx` tokens are shared by `n_seq` texts; `n_ubatch` are computed at a time."""

    n_ctx: int
    n_ubatch: int = 512
    n_seq: int = 1
    type_k: TensorType = TensorType.F16
    type_v: TensorType = TensorType.F16
    flash_attn: bool = True


def pad_context(n_ctx: int) -> int:
    return -(-n_ctx // _PAD) * _PAD


def cells(shape: ModelShape, settings: CacheSettings) -> tuple[int, int]:
    """Tokens that a full layer keeps, and a layer with a sliding window; 0: there is none."""
    full = pad_context(settings.n_ctx)
    if not shape.window:
        return full, 0
    batch = min(settings.n_ubatch, settings.n_ctx)
    return full, pad_context(min(full, shape.window * settings.n_seq + batch))


def cache_bytes(shape: ModelShape, settings: CacheSettings) -> tuple[int, ...]:
    """Bytes that each layer keeps."""
    if not shape.causal:
        return (0,) * shape.n_layer
    full, sliding = cells(shape, settings)
    widest = 0
    if not (
        settings.flash_attn and shape.flash_attn
    ):  # values are then kept crosswise, all layers with the same width
        widest = max(kind.memory.value for kind in shape.kinds)
    sizes: dict[int, int] = {}  # by identity: layers alike share one LayerMemory, as a rule
    found = []
    for layer in shape.layers:
        memory = layer.kind.memory
        size = sizes.get(id(memory))
        if size is None:
            tokens = sliding if memory.sliding else full
            size = sizes[id(memory)] = _layer_bytes(memory, settings, tokens, widest)
        found.append(size)
    return tuple(found)


def type_fits(
    shape: ModelShape, type_: TensorType, *, keys: bool = True, values: bool = True
) -> bool:
    """Whether keys and values can be kept in this type: a head must be whole blocks."""
    widths = [
        width
        for kind in shape.kinds
        for kept, width in (
            (keys and kind.memory.key, kind.memory.head_key),
            (values and kind.memory.value, kind.memory.head_value),
        )
        if kept
    ]
    return all(width % type_.block_elements == 0 for width in widths)


def _layer_bytes(memory: LayerMemory, settings: CacheSettings, tokens: int, widest: int) -> int:
    value = max(memory.value, widest) if memory.value else 0
    row = _row(settings.type_k, memory.key + memory.index) + _row(settings.type_v, value)
    return tokens * row + settings.n_seq * memory.state * _STATE_BYTES


def _row(type_: TensorType, width: int) -> int:
    return -(-width // type_.block_elements) * type_.block_bytes
