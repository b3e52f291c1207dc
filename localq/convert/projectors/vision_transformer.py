"""The tensor names of SigLIP's and CLIP's vision transformers, which many projectors begin with.

Without suffix; `{i}` stands for the layer.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["vision_transformer"]

_EMBEDDINGS: Mapping[str, str] = {
    "embeddings.patch_embedding": "v.patch_embd",
    "embeddings.position_embedding": "v.position_embd",
    "post_layernorm": "v.post_ln",
}
_LAYER: Mapping[str, str] = {
    "layer_norm1": "ln1",
    "layer_norm2": "ln2",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.out_proj": "attn_out",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
}


def vision_transformer(root: str) -> Mapping[str, str]:
    """The names of one whose tensors begin with `root`, such as "vision_tower.vision_model."."""
    layers = {
        f"{root}encoder.layers.{{i}}.{name}": f"v.blk.{{i}}.{made}" for name, made in _LAYER.items()
    }
    return {**{root + name: made for name, made in _EMBEDDINGS.items()}, **layers}
