"""Seed-OSS: Qwen-like, with a head's width of its own.

References: llama.cpp `conversion/olmo.py`; transformers `models/seed_oss`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from localq.convert.families.decoder import Decoder, TensorNames
from localq.convert.families.names import ATTENTION, EMBEDDINGS, GATED_MLP

__all__ = ["SeedOss"]


class SeedOss(Decoder):
    architecture = "seed_oss"
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **ATTENTION,
        **GATED_MLP,
        "model.layers.{i}.input_layernorm": "blk.{i}.attn_norm",
        "model.layers.{i}.post_attention_layernorm": "blk.{i}.post_attention_norm",
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {"vocab_size": 155136, "rms_norm_eps": 1e-6}
