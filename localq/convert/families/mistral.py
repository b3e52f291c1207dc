"""Mistral and Mixtral: to llama.cpp both are Llama.

References: llama.cpp `conversion/llama.py`; transformers `models/mistral`, `models/mixtral`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from localq.convert.families.decoder import TensorNames
from localq.convert.families.llama import Llama
from localq.convert.families.names import ATTENTION, EMBEDDINGS, NORMS
from localq.messages import msg

__all__ = ["Arcee", "Mistral", "Mistral3", "Mixtral"]


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


class Mistral3(Mistral):
    """Mistral Small 3.1 and later, Ministral 3, Devstral, Magistral: the part that reads text."""

    architecture = "mistral3"

    def hyperparameters(self) -> None:
        super().hyperparameters()
        if self.config.get("model_type") != "ministral3":
            return
        rope = self.rope_parameters()
        if rope.get("rope_type") != "yarn":
            raise self.bad_config(msg("a ministral3 without rope_parameters of the type yarn"))
        scale = self.number(rope, "mscale_all_dim")
        self.f32("rope.scaling.yarn_log_multiplier", scale)
        self.f32("attention.temperature_scale", self.number(rope, "llama_4_scaling_beta"))


class Arcee(Llama):
    """A feed-forward network without a gate."""

    architecture = "arcee"
    names: ClassVar[TensorNames] = {
        name: made for name, made in Llama.names.items() if not name.endswith(".gate_proj")
    }
