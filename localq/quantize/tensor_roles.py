"""What the tensors of a model are, and what of the model matters, to llama.cpp's mixtures.

Reference: llama.cpp `src/llama-quant.cpp`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from localq.formats.gguf import Plain
from localq.formats.types import TensorType

__all__ = ["GLM5_NEXT", "VALUES", "ModelTraits", "Role", "TensorShape", "is_quantizable", "role_of"]


@dataclass(frozen=True, slots=True)
class TensorShape:
    """What the rules need to know of a tensor; `type` is what it is stored as losslessly."""

    name: str
    shape: tuple[int, ...]
    type: TensorType


@dataclass(frozen=True, slots=True)
class ModelTraits:
    """What the rules need to know of the model."""

    architecture: str
    layers: int
    experts: int
    gqa: int
    """Query heads that share one key and value head."""
    seventy_b: bool
    """llama.cpp gives the values of 80-layer models with grouped heads more bits."""

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Plain]) -> ModelTraits:
        architecture = str(metadata.get("general.architecture", ""))

        def number(key: str) -> int:
            value = metadata.get(f"{architecture}.{key}", 0)
            if isinstance(value, list):
                value = value[0] if value else 0
            return value if isinstance(value, int) else 0

        layers, heads = number("block_count"), number("attention.head_count")
        if architecture == "nanbeige":  # goes through its layers several times
            layers *= number("num_loops") or 1
        elif architecture == "graniteswitch":  # one more chooses the adapter
            layers += 1 - number("nextn_predict_layers")
        kv_heads = number("attention.head_count_kv") or heads
        return cls(
            architecture,
            layers,
            number("expert_count"),
            heads // kv_heads if kv_heads else 0,
            (architecture in ("llama", "llama-embed") and layers == 80 and heads != kv_heads)
            or (architecture in ("qwen2", "olmo", "deci") and layers == 80)
            or (architecture == "jais2" and layers == 68),
        )


class Role(Enum):
    """What a tensor is for, as far as the rules tell tensors apart."""

    OUTPUT = auto()
    EMBEDDING = auto()
    QKV = auto()
    KV_B = auto()
    V = auto()
    K = auto()
    Q = auto()
    ATTENTION_OUTPUT = auto()
    UP = auto()
    GATE = auto()
    DOWN = auto()
    OTHER = auto()


_ROLE_MARKS = (
    ("attn_qkv.weight", Role.QKV),
    ("attn_kv_b.weight", Role.KV_B),
    ("attn_v.weight", Role.V),
    ("attn_k.weight", Role.K),
    ("attn_q.weight", Role.Q),
    ("attn_output.weight", Role.ATTENTION_OUTPUT),
    ("ffn_up", Role.UP),
    ("ffn_gate", Role.GATE),
    ("ffn_down", Role.DOWN),
)
VALUES = frozenset({Role.V, Role.QKV, Role.KV_B})

_KEPT = re.compile(
    r"_norm\.weight|ffn_gate_inp\.weight|ffn_gate_tid2eid\.weight|altup|laurel"
    r"|per_layer_model_proj|^position_embd\.weight$|^token_types\.weight$|ssm_conv1d"
    r"|shortconv\.conv\.weight|indexer\.[kq]_proj\.weight|attn_rel_b\.weight"
    r"|time_mix_(first|w[012]|v[012]|a[012]|g[12]|decay_w[12]|lerp_fused)\.weight"
    r"|\.position_embd|sam\.(pos_embd|neck\.|net_)|\.rel_pos|\.patch_(embd|merger)"
    r"|a\.rvq\.codebook|mm\.a\.code_embd"
)
"""Tensors that stay as they are: small, or too delicate."""

GLM5_NEXT = "glm5-next"
_GLM5_NEXT_KEPT = re.compile(
    r"hc_|indexer\.(attn_q_b|attn_k|proj)|indexer_compressor_(gate|ape)"
    r"|(ssm_[fg]_[ab]|ssm_beta|attn_kv_a_mqa|attn_[kv]_b)\.weight"
)


def role_of(name: str) -> Role:
    """What a tensor of this name is for."""
    if name == "output.weight":
        return Role.OUTPUT
    if name in ("token_embd.weight", "per_layer_token_embd.weight"):
        return Role.EMBEDDING
    return next((role for mark, role in _ROLE_MARKS if mark in name), Role.OTHER)


def is_quantizable(tensor: TensorShape, traits: ModelTraits) -> bool:
    """Whether it is a matrix that may lose bits."""
    dimensions = len(tensor.shape)
    while dimensions > 1 and tensor.shape[dimensions - 1] == 1:
        dimensions -= 1
    if dimensions < 2 or not tensor.name.endswith("weight") or _KEPT.search(tensor.name):
        return False
    return traits.architecture != GLM5_NEXT or not _GLM5_NEXT_KEPT.search(tensor.name)
