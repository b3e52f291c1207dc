"""MiniMax-M2: experts in every layer, queries and keys normed all heads together.

References: llama.cpp `conversion/minimax.py`; the model's own code in its repository.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from localq.convert.families.decoder import Decoder, TensorNames
from localq.convert.families.names import ATTENTION, EMBEDDINGS, NORMS
from localq.convert.families.qwen import QUERY_KEY_NORMS

__all__ = ["MiniMaxM2"]

_MOE = "model.layers.{i}.block_sparse_moe"


class MiniMaxM2(Decoder):
    architecture = "minimax-m2"
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **ATTENTION,
        **NORMS,
        **QUERY_KEY_NORMS,
        f"{_MOE}.gate": "blk.{i}.ffn_gate_inp",
    }
    exact: ClassVar[TensorNames] = {f"{_MOE}.e_score_correction_bias": "blk.{i}.exp_probs_b.bias"}
    experts: ClassVar[TensorNames] = {
        f"{_MOE}.experts.{{e}}.{wide}": f"blk.{{i}}.ffn_{kind}_exps"
        for wide, kind in (("w1", "gate"), ("w2", "down"), ("w3", "up"))
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {"vocab_size": 200064, "rms_norm_eps": 1e-6}

    def hyperparameters(self) -> None:
        super().hyperparameters()
        self.u32("expert_feed_forward_length", self.integer("intermediate_size"))
        self.u32("rope.dimension_count", self.integer("rotary_dim"))
