"""The tensor names that transformers uses again and again, in pieces for families to put together.

Without suffix; `{i}` stands for the layer.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "ATTENTION",
    "EMBEDDINGS",
    "GATED_MLP",
    "NEXT_TOKEN",
    "NORMS",
    "SHARED_WITH_THE_MODEL",
]

EMBEDDINGS: Mapping[str, str] = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
ATTENTION: Mapping[str, str] = {
    "model.layers.{i}.self_attn.q_proj": "blk.{i}.attn_q",
    "model.layers.{i}.self_attn.k_proj": "blk.{i}.attn_k",
    "model.layers.{i}.self_attn.v_proj": "blk.{i}.attn_v",
    "model.layers.{i}.self_attn.o_proj": "blk.{i}.attn_output",
}
NORMS: Mapping[str, str] = {
    "model.layers.{i}.input_layernorm": "blk.{i}.attn_norm",
    "model.layers.{i}.post_attention_layernorm": "blk.{i}.ffn_norm",
}
"""Before attention and before the feed-forward network."""
GATED_MLP: Mapping[str, str] = {
    "model.layers.{i}.mlp.gate_proj": "blk.{i}.ffn_gate",
    "model.layers.{i}.mlp.up_proj": "blk.{i}.ffn_up",
    "model.layers.{i}.mlp.down_proj": "blk.{i}.ffn_down",
}
NEXT_TOKEN: Mapping[str, str] = {
    "model.layers.{i}.eh_proj": "blk.{i}.nextn.eh_proj",
    "model.layers.{i}.enorm": "blk.{i}.nextn.enorm",
    "model.layers.{i}.hnorm": "blk.{i}.nextn.hnorm",
    "model.layers.{i}.embed_tokens": "blk.{i}.nextn.embed_tokens",
    "model.layers.{i}.shared_head.head": "blk.{i}.nextn.shared_head_head",
    "model.layers.{i}.shared_head.norm": "blk.{i}.nextn.shared_head_norm",
}
"""Of a layer that predicts one more token."""
SHARED_WITH_THE_MODEL = frozenset({"blk.{i}.nextn.embed_tokens", "blk.{i}.nextn.shared_head_head"})
"""What of it the model may have alone."""
