"""Granite 3: Llama with scales of its own, with and without experts.

References: llama.cpp `conversion/granite.py`; transformers `models/granite`, `models/granitemoe`,
`models/granitemoeshared`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from localq.convert.families.decoder import TensorNames
from localq.convert.families.llama import Llama
from localq.convert.families.names import ATTENTION, EMBEDDINGS, NORMS
from localq.convert.source_tensor import SourceTensor
from localq.formats.rows import TensorSource

__all__ = ["Granite", "GraniteMoe"]

_SCALES = (
    ("attention.scale", "attention_multiplier"),
    ("embedding_scale", "embedding_multiplier"),
    ("residual_scale", "residual_multiplier"),
    ("logit_scale", "logits_scaling"),
)


class Granite(Llama):
    architecture = "granite"
    writes_head_dim = False
    config_defaults: ClassVar[Mapping[str, Any]] = {
        **Llama.config_defaults,
        **{config_key: 1.0 for _, config_key in _SCALES},
    }

    def hyperparameters(self) -> None:
        # A width of heads in the config is one that transformers ignores too.
        self.config.pop("head_dim", None)
        super().hyperparameters()
        for key, config_key in _SCALES:
            if self.config[config_key]:
                self.f32(key, self.number(self.config, config_key))


class GraniteMoe(Granite):
    """Experts whose gate and way up are one tensor; Shared: beside them one always asked."""

    architecture = "granitemoe"
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **ATTENTION,
        **NORMS,
        "model.layers.{i}.block_sparse_moe.router.layer": "blk.{i}.ffn_gate_inp",
        "model.layers.{i}.block_sparse_moe.input_linear": "blk.{i}.ffn_gate_exps",
        "model.layers.{i}.block_sparse_moe.output_linear": "blk.{i}.ffn_down_exps",
        "model.layers.{i}.shared_mlp.input_linear": "blk.{i}.ffn_gate_shexp",
        "model.layers.{i}.shared_mlp.output_linear": "blk.{i}.ffn_down_shexp",
    }
    optional: ClassVar[frozenset[str]] = Granite.optional | {
        "blk.{i}.ffn_gate_shexp",
        "blk.{i}.ffn_down_shexp",
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        **Granite.config_defaults,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    }

    def hyperparameters(self) -> None:
        super().hyperparameters()
        if self.config.get("shared_intermediate_size"):
            self._u32_from("expert_shared_feed_forward_length", "shared_intermediate_size")

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        if not name.endswith(".input_linear.weight"):
            yield self.tensor(name, source)
            return
        gate = self.gguf_name(name, source)
        yield from self.halves(name, source, gate, gate.replace("ffn_gate", "ffn_up"))
