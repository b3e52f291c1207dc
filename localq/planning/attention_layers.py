"""What each layer of a model remembers of the tokens it has read.

llama.cpp decides this by architecture: which layers look at a sliding window only, which are
recurrent, which use the keys of another layer. Sources: `create_memory` in
`src/llama-model.cpp`, `src/llama-hparams.cpp`, and `load_arch_hparams` in `src/models/*.cpp`.
"""

from __future__ import annotations

from dataclasses import dataclass

from localq.planning.architectures import (
    APPROXIMATE,
    ENCODERS,
    HYBRIDS_BY_HEADS,
    HYBRIDS_BY_INTERVAL,
    IGNORES_WINDOW,
    RECURRENT,
    WINDOWS,
)
from localq.planning.header_values import HeaderValues

__all__ = ["KeptLayers", "LayerMemory", "layer_memories"]


@dataclass(frozen=True, slots=True)
class LayerMemory:
    """Widths are numbers for each token, 0 for what the layer does not keep."""

    key: int
    value: int
    sliding: bool
    """Whether it keeps the tokens of the window alone."""
    state: int
    """Numbers of its recurrent state, for each text, as f32."""
    head_key: int
    head_value: int
    index: int
    """Width of the keys by which a sparse layer finds the tokens to look at."""
    latent: int
    """Width of a head before its keys and values are compressed; 0: they are not."""


@dataclass(frozen=True, slots=True)
class KeptLayers:
    layers: tuple[LayerMemory, ...]
    window: int
    """Tokens of the sliding window; 0: no layer has one."""
    causal: bool
    approximate: bool


def layer_memories(values: HeaderValues, n_layer: int, n_embd: int) -> KeptLayers:
    """What the layers of this model keep."""
    architecture = values.architecture
    causal = architecture not in ENCODERS
    window, sliding = _sliding(values, n_layer)
    recurrent = _recurrent(values, n_layer)
    keeps = _layers_with_keys(values, n_layer)
    layers = []
    for index in range(n_layer):
        attends = (architecture == "falcon-h1" or not recurrent[index]) and causal
        if architecture.startswith("nemotron_h"):
            attends = attends and values.of_layer("feed_forward_length", index, 0) == 0
        layers.append(
            _layer(
                values,
                index,
                n_embd,
                sliding=sliding[index],
                keeps=attends and index < keeps,
                recurrent=recurrent[index],
            )
        )
    return KeptLayers(
        tuple(layers), window if any(sliding) else 0, causal, architecture in APPROXIMATE
    )


def _layer(
    values: HeaderValues, index: int, n_embd: int, *, sliding: bool, keeps: bool, recurrent: bool
) -> LayerMemory:
    first_heads = values.of_layer("attention.head_count", 0, 0)
    heads = values.of_layer("attention.head_count", index, 0)
    kv_heads = values.of_layer("attention.head_count_kv", index, heads)
    width = n_embd // first_heads if first_heads else 0
    key = values.count("attention.key_length", width)
    value = values.count("attention.value_length", width)
    if sliding:
        key = values.count("attention.key_length_swa", key)
        value = values.count("attention.value_length_swa", value)
    # Latent attention: the values are read out of the keys.
    latent = values.count("attention.key_length_mla", 0)
    return LayerMemory(
        key=key * kv_heads if keeps else 0,
        value=value * kv_heads if keeps and not latent else 0,
        sliding=sliding,
        state=_state(values, n_embd, index) if recurrent else 0,
        head_key=key,
        head_value=value,
        index=values.count("attention.indexer.key_length", 0) if keeps else 0,
        latent=latent,
    )


def _sliding(values: HeaderValues, n_layer: int) -> tuple[int, list[bool]]:
    """The window, and which layers have it."""
    architecture = values.architecture
    none = [False] * n_layer
    known = WINDOWS.get(architecture)
    window = values.count("attention.sliding_window", known.size or 0 if known else 0)
    if known and known.fixed and window:
        window = known.size or 0
    if architecture in IGNORES_WINDOW or window == 0:
        return 0, none
    if architecture == "exaone4" and n_layer != 64:  # the 1.2B model has none
        return 0, none
    if (flags := values.flags("attention.sliding_window_pattern")) is not None:
        return window, (flags + none)[:n_layer]
    if known is None:
        if architecture == "lfm2":
            return window, [
                values.of_layer("attention.head_count_kv", i, 1) > 0 for i in range(n_layer)
            ]
        return 0, none
    period = values.count("attention.sliding_window_pattern", known.period)
    if period == 0:
        return window, [True] * n_layer
    full = 0 if known.first else period - 1
    return window, [index % period != full for index in range(n_layer)]


def _recurrent(values: HeaderValues, n_layer: int) -> list[bool]:
    architecture = values.architecture
    if architecture in RECURRENT or architecture == "falcon-h1":
        return [True] * n_layer
    if architecture in HYBRIDS_BY_HEADS:
        feed_forward = architecture.startswith("nemotron_h")
        return [
            values.of_layer("attention.head_count_kv", index, 1) == 0
            and not (feed_forward and values.of_layer("feed_forward_length", index, 0))
            for index in range(n_layer)
        ]
    if architecture in HYBRIDS_BY_INTERVAL:
        if (flags := values.flags("attention.recurrent_layers")) is not None:
            return (flags + [False] * n_layer)[:n_layer]
        interval = values.count("full_attention_interval", 4) or 4
        return [(index + 1) % interval != 0 for index in range(n_layer)]
    return [False] * n_layer


def _layers_with_keys(values: HeaderValues, n_layer: int) -> int:
    """How many layers, from the first, keep keys of their own."""
    match values.architecture:
        case "gemma3n":
            return min(n_layer, 20)
        case "gemma4":
            return max(0, n_layer - values.count("attention.shared_kv_layers", 0))
        case _:
            return n_layer


def _state(values: HeaderValues, n_embd: int, index: int) -> int:
    """Numbers of a recurrent layer's state: llama.cpp's n_embd_r and n_embd_s."""
    if head := values.count("wkv.head_size", 0):
        return n_embd * (values.count("token_shift_count", 2) + head)
    if cache := values.count("shortconv.l_cache", 0):
        return n_embd * max(0, cache - 1)
    kernel = values.count("ssm.conv_kernel", 0)
    heads = values.of_layer("attention.head_count", index, 0)
    if head := values.count("kda.head_dim", 0):
        convolution = 3 * (kernel - 1 if kernel else 3) * heads * head
        return convolution + head * head * heads
    if values.architecture == "minimax-01":
        head = values.count("attention.key_length", 0)
        return head * head * heads
    inner, size = values.count("ssm.inner_size", 0), values.count("ssm.state_size", 0)
    groups = values.count("ssm.group_count", 0)
    return max(0, kernel - 1) * (inner + 2 * groups * size) + size * inner
