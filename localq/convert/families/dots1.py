"""dots.llm1: experts in all layers but the first, normed queries and keys.

References: llama.cpp `conversion/dots1.py`; transformers `models/dots1`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from localq.convert.families.decoder import TensorNames
from localq.convert.families.experts import BIAS_OF_CHOICE, ROUTER, SHARED, STACKED, DenseFirst
from localq.convert.families.names import ATTENTION, EMBEDDINGS, GATED_MLP, NORMS
from localq.convert.families.qwen import QUERY_KEY_NORMS

__all__ = ["Dots1"]


class Dots1(DenseFirst):
    architecture = "dots1"
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **ATTENTION,
        **NORMS,
        **QUERY_KEY_NORMS,
        **GATED_MLP,
        **ROUTER,
        **SHARED,
    }
    exact: ClassVar[TensorNames] = BIAS_OF_CHOICE
    experts: ClassVar[TensorNames] = STACKED
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 152064,
        "rms_norm_eps": 1e-6,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 0,
        "norm_topk_prob": False,
        "routed_scaling_factor": 1.0,
    }

    def hyperparameters(self) -> None:
        if self.config.get("scoring_func") == "noaux_tc":  # the published name of it
            self.config["scoring_func"] = "sigmoid"
        super().hyperparameters()
        self._u32_from("expert_feed_forward_length", "moe_intermediate_size")
        self.u32("leading_dense_block_count", self.dense_layers)
        self.u32("expert_shared_count", self.count("n_shared_experts"))
        self.f32("expert_weights_scale", self.number(self.config, "routed_scaling_factor"))
        self.flag("expert_weights_norm", bool(self.config["norm_topk_prob"]))
