"""ERNIE 4.5, with and without experts.

References: llama.cpp `conversion/ernie.py`; transformers `models/ernie4_5`, `models/ernie4_5_moe`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from localq.convert.families.decoder import Decoder, TensorNames
from localq.convert.families.experts import ROUTER, SHARED, DenseFirst
from localq.convert.families.names import ATTENTION, EMBEDDINGS, GATED_MLP, NORMS
from localq.convert.source_tensor import SourceTensor
from localq.convert.vocabulary.choose import write_vocabulary
from localq.convert.vocabulary.files import TokenizerFiles
from localq.formats.rows import TensorSource

__all__ = ["Ernie45", "Ernie45Moe"]

_MLP = "model.layers.{i}.mlp"
_SPACE = "tokenizer.ggml.add_space_prefix"
_NEXT_TOKENS = ("model.mtp_block.", "model.mtp_emb_norm.", "model.mtp_hidden_norm.", "model.mtp_l")


class Ernie45(Decoder):
    architecture = "ernie4_5"
    names: ClassVar[TensorNames] = {**EMBEDDINGS, **ATTENTION, **NORMS, **GATED_MLP}
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 103424,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
    }

    def renamed(self, name: str) -> str:
        return name.replace("ernie.", "model.", 1)

    def vocabulary(self, files: TokenizerFiles) -> None:
        self._warn(write_vocabulary(files, self.fields))
        prefix = (files.tokenizer_config or {}).get("add_prefix_space")
        if isinstance(prefix, bool) and self.fields.get(_SPACE) is None:
            self.fields.boolean(_SPACE, prefix)


class Ernie45Moe(DenseFirst, Ernie45):
    """Experts in the layers between the first and the last ones."""

    architecture = "ernie4_5-moe"
    dense_key: ClassVar[str] = "moe_layer_start_index"
    names: ClassVar[TensorNames] = {**Ernie45.names, **ROUTER, **SHARED}
    exact: ClassVar[TensorNames] = {
        f"{_MLP}.moe_statics.e_score_correction_bias": "blk.{i}.exp_probs_b.bias"
    }
    experts: ClassVar[TensorNames] = {
        f"{_MLP}.experts.{{e}}.{kind}_proj": f"blk.{{i}}.ffn_{kind}_exps"
        for kind in ("gate", "up", "down")
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 103424,
        "num_key_value_heads": 4,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "moe_intermediate_size": 1536,
        "moe_k": 6,
        "moe_num_experts": 64,
        "moe_num_shared_experts": 2,
        "moe_layer_start_index": 1,
        "moe_layer_interval": 1,
    }

    @property
    def expert_count(self) -> int:
        return self.integer("moe_num_experts", most=1 << 16)

    def is_dense(self, layer: int) -> bool:
        return layer < self.dense_layers or (layer + 1) % self.integer("moe_layer_interval") != 0

    def lacks(self, gguf_name: str, layer: int) -> bool:
        if gguf_name.endswith("_shexp") and not self.config["moe_num_shared_experts"]:
            return True
        return super().lacks(gguf_name, layer)

    def hyperparameters(self) -> None:
        super().hyperparameters()
        self.u32("expert_count", self.expert_count)
        self.u32("expert_used_count", self.integer("moe_k"))
        self.u32("interleave_moe_layer_step", self.integer("moe_layer_interval"))
        self.u32("leading_dense_block_count", self.dense_layers)
        self.u32("expert_feed_forward_length", self.integer("moe_intermediate_size"))
        shared = self.count("moe_num_shared_experts")
        self.u32("expert_shared_count", shared)
        if shared:
            # llama.cpp's converter divides by the number of key heads, which is the same in the
            # published models.
            width = self.integer("moe_intermediate_size") * shared
            self.u32("expert_shared_feed_forward_length", width)

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        if not name.startswith(_NEXT_TOKENS):  # which predict further tokens
            yield from super().tensors_of(name, source)
