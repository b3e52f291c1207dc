"""Llama 4, the part that reads text: experts in one tensor each, turned.

References: llama.cpp `conversion/llama.py`; transformers `models/llama4`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from localq.convert.families.decoder import TensorNames
from localq.convert.families.llama import Llama
from localq.convert.families.names import ATTENTION, EMBEDDINGS, NORMS
from localq.convert.source_tensor import SourceTensor
from localq.convert.vocabulary.byte_level import write_byte_level
from localq.convert.vocabulary.files import TokenizerFiles
from localq.formats.rows import TensorSource

__all__ = ["Llama4"]

_FEED_FORWARD = "model.layers.{i}.feed_forward"
_KINDS = ("gate", "up", "down")
_STACKS = (".experts.down_proj", ".experts.gate_up_proj")


class Llama4(Llama):
    architecture = "llama4"
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **ATTENTION,
        **NORMS,
        f"{_FEED_FORWARD}.router": "blk.{i}.ffn_gate_inp",
        **{f"{_FEED_FORWARD}.{kind}_proj": f"blk.{{i}}.ffn_{kind}" for kind in _KINDS},
        **{
            f"{_FEED_FORWARD}.shared_expert.{kind}_proj": f"blk.{{i}}.ffn_{kind}_shexp"
            for kind in _KINDS
        },
    }
    exact: ClassVar[TensorNames] = {
        f"{_FEED_FORWARD}.experts.down_proj": "blk.{i}.ffn_down_exps.weight",
        f"{_FEED_FORWARD}.experts.gate_up_proj": "blk.{i}.ffn_gate_exps.weight",
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 202048,
        "hidden_size": 5120,
        "intermediate_size": 8192,
        "intermediate_size_mlp": 16384,
        "num_hidden_layers": 48,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 4096 * 32,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "interleave_moe_layer_step": 1,
        "num_experts_per_tok": 1,
        "num_local_experts": 16,
    }

    def row_order(self, name: str, rows: int) -> npt.NDArray[np.intp] | None:
        return None

    def lacks(self, gguf_name: str, layer: int) -> bool:
        kind = gguf_name.rpartition("blk.{i}.")[2]
        dense = (layer + 1) % self.integer("interleave_moe_layer_step") != 0
        if kind in ("ffn_gate", "ffn_up", "ffn_down"):
            return not dense
        return kind.startswith("ffn_") and kind != "ffn_norm" and dense

    def hyperparameters(self) -> None:
        experts = self.integer("intermediate_size")
        self.config["intermediate_size"] = self.integer("intermediate_size_mlp")
        super().hyperparameters()
        self.config["intermediate_size"] = experts
        self.u32("interleave_moe_layer_step", self.integer("interleave_moe_layer_step"))
        self.u32("expert_feed_forward_length", experts)
        kinds = self.config.get("layer_types")
        if isinstance(kinds, list) and all(kind == "full_attention" for kind in kinds):
            self.u32("attention.sliding_window", 0)

    def vocabulary(self, files: TokenizerFiles) -> None:
        self._warn(write_byte_level(files, self.fields))

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        if not name.endswith(_STACKS):
            yield from super().tensors_of(name, source)
        else:
            yield from self.turned_stacks(name, source)
