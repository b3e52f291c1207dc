"""Falcon 7B, 40B, 180B and Falcon2.

References: llama.cpp `conversion/falcon.py`; transformers `models/falcon`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from localq.convert.families.decoder import Decoder, TensorNames
from localq.errors import UnsupportedError
from localq.messages import msg

__all__ = ["Falcon"]


class Falcon(Decoder):
    architecture = "falcon"
    names: ClassVar[TensorNames] = {
        "transformer.word_embeddings": "token_embd",
        "transformer.ln_f": "output_norm",
        "lm_head": "output",
        "transformer.h.{i}.input_layernorm": "blk.{i}.attn_norm",
        # The larger models norm the feed-forward's input apart; llama.cpp calls that one the first.
        "transformer.h.{i}.ln_mlp": "blk.{i}.attn_norm",
        "transformer.h.{i}.ln_attn": "blk.{i}.attn_norm_2",
        "transformer.h.{i}.self_attention.query_key_value": "blk.{i}.attn_qkv",
        "transformer.h.{i}.self_attention.dense": "blk.{i}.attn_output",
        "transformer.h.{i}.mlp.dense_h_to_4h": "blk.{i}.ffn_up",
        "transformer.h.{i}.mlp.dense_4h_to_h": "blk.{i}.ffn_down",
    }
    optional: ClassVar[frozenset[str]] = frozenset({"output", "blk.{i}.attn_norm_2"})
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 65024,
        "hidden_size": 4544,
        "num_hidden_layers": 32,
        "layer_norm_epsilon": 1e-5,
        "multi_query": True,
        "rope_theta": 10000.0,
    }

    @property
    def heads(self) -> int:
        return self.integer("num_attention_heads", "n_head")

    @property
    def kv_heads(self) -> int:
        """The smaller models ignore their `num_kv_heads`."""
        if self.config.get("new_decoder_architecture"):
            return self.integer("num_kv_heads", "n_head_kv", "num_attention_heads", "n_head")
        return 1 if self.config["multi_query"] else self.heads

    def hyperparameters(self) -> None:
        if self.config.get("alibi") or self.config.get("parallel_attn") is False:
            raise UnsupportedError(
                msg(
                    "{root}: llama.cpp's Falcon has neither ALiBi nor attention before the"
                    " feed-forward, as this model does",
                    root=self.checkpoint.root,
                ),
                hint=msg("take another model"),
            )
        width = self.integer("hidden_size")
        self.u32("context_length", 2048)  # what Falcon was trained with
        self.text("tensor_data_layout", "jploski")
        self.u32("embedding_length", width)
        self.u32("feed_forward_length", 4 * width)
        self.u32("block_count", self.layers)
        self.u32("attention.head_count", self.heads)
        self.u32("attention.head_count_kv", self.kv_heads)
        self.f32("attention.layer_norm_epsilon", self.number(self.config, "layer_norm_epsilon"))
        self.file_type()
        self.unusual_rope()

    def row_order(self, name: str, rows: int) -> npt.NDArray[np.intp] | None:
        """All queries, then all keys, then all values."""
        if ".query_key_value." not in name:
            return None
        return np.concatenate(self.split_qkv(name, rows, self.heads, self.kv_heads))
