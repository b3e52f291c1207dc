"""Llama 1 to 3.x and what is built the same way: SmolLM2, TinyLlama, Yi, DeepSeek-LLM.

Reference: llama.cpp `conversion/llama.py`; transformers `models/llama`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from localq.convert.families.decoder import TensorNames
from localq.convert.families.llama3_rope import Llama3Rope
from localq.convert.families.names import ATTENTION, EMBEDDINGS, GATED_MLP, NORMS
from localq.convert.vocabulary.choose import write_vocabulary
from localq.convert.vocabulary.files import TokenizerFiles
from localq.convert.vocabulary.tekken import has_tekken_alone, write_tekken

__all__ = ["Llama"]


class Llama(Llama3Rope):
    architecture = "llama"
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **ATTENTION,
        **NORMS,
        **GATED_MLP,
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
    }

    writes_head_dim: ClassVar[bool] = True
    """Whether the width of a head is written although it follows from the number of heads."""

    def hyperparameters(self) -> None:
        self.config["num_key_value_heads"] = self.kv_heads
        if self.writes_head_dim:
            self.config["head_dim"] = self.head_dim
        super().hyperparameters()
        self.u32("vocab_size", self.integer("vocab_size"))
        self.u32("rope.dimension_count", self.head_dim)

    def row_order(self, name: str, rows: int) -> npt.NDArray[np.intp] | None:
        if name.endswith((".q_proj.weight", ".q_proj.bias")):
            heads = self.heads
        elif name.endswith((".k_proj.weight", ".k_proj.bias")):
            heads = self.kv_heads
        else:
            return None
        return self.rotary_rows(name, rows, heads)

    def vocabulary(self, files: TokenizerFiles) -> None:
        if has_tekken_alone(files):
            size = f"{self.architecture}.vocab_size"
            self._warn(write_tekken(files, self.fields, size_key=size))
            return
        prefix = (files.tokenizer_config or {}).get("add_prefix_space")
        if isinstance(prefix, bool):
            self.fields.boolean("tokenizer.ggml.add_space_prefix", prefix)
        self._warn(write_vocabulary(files, self.fields))
        match self.config.get("vocab_size"):
            case 32016:  # CodeLlama: what ends an infilled middle
                self.fields.u32("tokenizer.ggml.eot_token_id", 32010)
            case 49152:  # SmolLM and Granite small: their BOS must not be added
                self.fields.boolean("tokenizer.ggml.add_bos_token", False)
