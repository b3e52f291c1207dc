"""How much a layer has in memory for each token while it is computed.

Numbers, not bytes. ggml's allocator reuses what is not needed any more; what lives at the same
time was read off measurements, see `localq.planning.compute_buffers`.
"""

from __future__ import annotations

from collections.abc import Mapping

from localq.planning.attention_layers import LayerMemory
from localq.planning.header_tensors import TensorLike
from localq.planning.header_values import HeaderValues

__all__ = ["attention", "embeddings_of_layers", "extra_width", "feed_forward"]


def attention(
    values: HeaderValues,
    n_embd: int,
    heads: int,
    memory: LayerMemory,
    tensors: Mapping[str, TensorLike],
) -> int:
    """Of attention or of what takes its place, without the scores."""
    if memory.latent:
        width = heads * (memory.latent + 2 * memory.head_value + memory.head_key)
    else:
        query = heads * max(memory.head_key, memory.head_value)
        fused = n_embd if "attn_qkv.weight" in tensors else 0
        width = 3 * n_embd + 2 * query + memory.key + memory.value + fused
    return max(width, _recurrent(values, n_embd, memory, tensors))


def _recurrent(
    values: HeaderValues, n_embd: int, memory: LayerMemory, tensors: Mapping[str, TensorLike]
) -> int:
    if not memory.state:
        return 0
    if values.has("wkv.head_size"):
        return 19 * n_embd
    widths = (
        tensor.shape[1]
        for name, tensor in tensors.items()
        if name.startswith(("ssm_in.", "attn_qkv.")) and len(tensor.shape) > 1
    )
    inner = values.count("ssm.inner_size", 0)
    return 3 * n_embd + max(widths, default=0) + 3 * inner


def embeddings_of_layers(values: HeaderValues) -> int:
    """Of embeddings that each layer has of its own, together."""
    return values.count("embedding_length_per_layer_input", 0) * values.count("block_count", 0)


def extra_width(values: HeaderValues, n_embd: int) -> int:
    """Of Gemma 3n and 4: embeddings for every layer, and streams side by side."""
    embeddings = embeddings_of_layers(values)
    if not embeddings:
        return 0
    streams = max(0, values.count("altup.num_inputs", 0) - 1)
    return embeddings + (5 * n_embd) // 2 + streams * n_embd


def feed_forward(values: HeaderValues, tensors: Mapping[str, TensorLike]) -> int:
    """Of the widest feed-forward network, dense or of experts."""
    dense = _network(tensors, "ffn_up.weight", "ffn_gate.weight", "ffn_down.weight")
    up, down = tensors.get("ffn_up_exps.weight"), tensors.get("ffn_down_exps.weight")
    if up is None:
        up = tensors.get("ffn_gate_up_exps.weight")
    if up is None or down is None or len(up.shape) < 2 or len(down.shape) < 2:
        return dense
    used = min(values.count("expert_used_count", 1), values.count("expert_count", 1))
    inner, outer = down.shape[0] * used, down.shape[1] * used
    # Each chosen expert's result is a row of its own. ggml's allocator puts all of them where the
    # two halves of the gate were if they fit there, else behind.
    width = 3 * inner + (outer if outer > 2 * inner else 0)
    shared = _network(tensors, "ffn_up_shexp.weight", "ffn_gate_shexp.weight", "ffn_down_shexp")
    return max(dense, width, shared + down.shape[1]) + values.count("expert_count", 0)


def _network(tensors: Mapping[str, TensorLike], up: str, gate: str, down: str) -> int:
    """Numbers for each token: a gated network has both halves and their product, another works
    in place."""
    first = tensors.get(up)
    if first is None or len(first.shape) < 2:
        return 0
    rows = first.shape[1]
    if gate in tensors:
        return 3 * rows
    last = tensors.get(down)
    if last is not None and 2 * last.shape[0] == rows:  # both halves in one matrix
        return rows + last.shape[0]
    return rows
