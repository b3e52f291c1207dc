"""Mistral and Mixtral: to llama.cpp both are Llama.

References: llama.cpp `conversion/llama.py`; transformers `models/mistral`, `models/mixtral`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from localq.convert.families.decoder import TensorNames
from localq.convert.families.llama import Llama
from localq.convert.families.names import ATTENTION, EMBEDDINGS, NORMS

__all__ = ["Mistral", "Mixtral"]


class Mistral(Llama):
    writes_head_dim = False
    config_defaults: ClassVar[Mapping[str, Any]] = {
        **Llama.config_defaults,
        "intermediate_size": 14336,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
    }


class Mixtral(Mistral):
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **ATTENTION,
        **NORMS,
        "model.layers.{i}.block_sparse_moe.gate": "blk.{i}.ffn_gate_inp",
    }
    experts: ClassVar[TensorNames] = {
        f"model.layers.{{i}}.block_sparse_moe.experts.{{e}}.{wide}": f"blk.{{i}}.ffn_{kind}_exps"
        for wide, kind in (("w1", "gate"), ("w2", "down"), ("w3", "up"))
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        **Mistral.config_defaults,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e6,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    }
