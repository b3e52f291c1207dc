"""Phi-2, Phi-3, Phi-3.5 (with and without experts) and Phi-4.

References: llama.cpp `conversion/phi.py`; transformers `models/phi`, `models/phi3`,
`models/phimoe`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import log, sqrt
from typing import Any, ClassVar

import numpy as np

from localq.convert.families.decoder import Decoder, TensorNames
from localq.convert.families.names import ATTENTION, EMBEDDINGS, NORMS
from localq.convert.vocabulary.byte_level import write_byte_level
from localq.convert.vocabulary.choose import write_vocabulary
from localq.convert.vocabulary.files import TokenizerFiles
from localq.convert.vocabulary.token import TokenType
from localq.errors import UnsupportedError
from localq.formats.rows import TensorSource
from localq.messages import msg

__all__ = ["Phi2", "Phi3", "PhiMoe"]

_TOKEN_KEYS = ("tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type")
_ADDED_SCORE = -1000.0
_FACTORS = (("long_factor", "rope_factors_long"), ("short_factor", "rope_factors_short"))


class _Phi(Decoder):
    @property
    def rotary_dim(self) -> int:
        """How many of a head's dimensions turn."""
        share = self.number(self.rope_parameters(), "partial_rotary_factor")
        if not 0 < share <= 1:
            raise self.bad_config(msg("partial_rotary_factor is {share}", share=share))
        return int(share * self.integer("hidden_size")) // self.heads


class Phi2(_Phi):
    """Attention and feed-forward side by side, biases everywhere."""

    architecture = "phi2"
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **ATTENTION,
        "model.final_layernorm": "output_norm",
        "model.layers.{i}.input_layernorm": "blk.{i}.attn_norm",
        "model.layers.{i}.self_attn.dense": "blk.{i}.attn_output",
        "model.layers.{i}.mlp.fc1": "blk.{i}.ffn_up",
        "model.layers.{i}.mlp.fc2": "blk.{i}.ffn_down",
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 51200,
        "hidden_size": 2048,
        "num_hidden_layers": 24,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
        "layer_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.5,
    }

    def hyperparameters(self) -> None:
        if self.kv_heads != self.heads or self.config.get("qk_layernorm"):
            raise UnsupportedError(
                msg(
                    "{root}: llama.cpp's Phi-2 has neither grouped heads nor normed queries, as"
                    " this model does",
                    root=self.checkpoint.root,
                ),
                hint=msg("take another model"),
            )
        width = self.integer("hidden_size")
        self._u32_from("context_length", "max_position_embeddings")
        self.u32("embedding_length", width)
        self.u32("feed_forward_length", 4 * width)
        self.u32("block_count", self.layers)
        self.u32("attention.head_count", self.heads)
        self.u32("attention.head_count_kv", self.heads)
        self.f32("attention.layer_norm_epsilon", self.number(self.config, "layer_norm_eps"))
        self.u32("rope.dimension_count", self.rotary_dim)
        self.file_type()
        self.fields.boolean("tokenizer.ggml.add_bos_token", False)
        self.unusual_rope()


class Phi3(_Phi):
    """Fused matrices, and factors that stretch the rotation for long texts."""

    architecture = "phi3"
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **NORMS,
        "model.layers.{i}.self_attn.qkv_proj": "blk.{i}.attn_qkv",
        "model.layers.{i}.self_attn.o_proj": "blk.{i}.attn_output",
        "model.layers.{i}.mlp.gate_up_proj": "blk.{i}.ffn_up",
        "model.layers.{i}.mlp.down_proj": "blk.{i}.ffn_down",
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 32064,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "partial_rotary_factor": 1.0,
    }

    @property
    def _original_context(self) -> int:
        value = self.rope_parameters().get("original_max_position_embeddings")
        if type(value) is not int or not 1 < value < 1 << 31:
            raise self.bad_config(
                msg("original_max_position_embeddings is {value!r}", value=str(value)[:100])
            )
        return value

    def hyperparameters(self) -> None:
        rope = self.rope_parameters()
        self._u32_from("context_length", "max_position_embeddings")
        self.u32("rope.scaling.original_context_length", self._original_context)
        self._u32_from("embedding_length", "hidden_size")
        self._u32_from("feed_forward_length", "intermediate_size")
        self.u32("block_count", self.layers)
        self.u32("attention.head_count", self.heads)
        self.u32("attention.head_count_kv", self.kv_heads)
        self.f32("attention.layer_norm_rms_epsilon", self.number(self.config, "rms_norm_eps"))
        self.u32("rope.dimension_count", self.rotary_dim)
        self.f32("rope.freq_base", self.number(rope, "rope_theta"))
        self.file_type()
        # No window is written as one of 0: by that llama.cpp tells Phi-4 from Phi-3.
        window = self.config.get("sliding_window")
        self.u32(
            "attention.sliding_window", 0 if window is None else self.integer("sliding_window")
        )

    def extra_tensors(self) -> Iterator[TensorSource]:
        rope = self.rope_parameters()
        if not rope.get("long_factor"):
            return
        scale = self.integer("max_position_embeddings") / self._original_context
        match rope.get("rope_type"):
            case "longrope" | "su":
                attention = sqrt(1 + log(scale) / log(self._original_context)) if scale > 1 else 1.0
            case "yarn":
                attention = 0.1 * log(scale) + 1 if scale > 1 else 1.0
            case other:
                raise self.bad_config(
                    msg("rope_scaling type {other!r} with factors", other=str(other)[:100])
                )
        self.f32("rope.scaling.attn_factor", attention)
        for key, name in _FACTORS:
            yield self.computed(f"{name}.weight", self._factors(rope, key))

    def _factors(self, rope: Mapping[str, Any], key: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        values = rope.get(key)
        if not isinstance(values, list) or len(values) != self.rotary_dim // 2:
            raise self.bad_config(
                msg(
                    "{key} is no list of {rotary_dim} numbers",
                    key=key,
                    rotary_dim=self.rotary_dim // 2,
                )
            )
        numbers = [self.number({key: value}, key) for value in values]
        return np.array(numbers, np.float32)

    def vocabulary(self, files: TokenizerFiles) -> None:
        if (files.tokenizer_config or {}).get("tokenizer_class") == "GPT2Tokenizer":
            self._warn(write_byte_level(files, self.fields))
            return
        self._warn(write_vocabulary(files, self.fields))
        if self.fields.get("tokenizer.ggml.model") == "llama":
            self._retype_added_tokens(files)

    def _retype_added_tokens(self, files: TokenizerFiles) -> None:
        """Added tokens are what tokenizer.json says they are, whatever they look like."""
        texts, scores, types = (self._list(key) for key in _TOKEN_KEYS)
        added = (files.tokenizer_json or {}).get("added_tokens")
        entries: list[tuple[object, Mapping[str, Any]]] = list(files.added_tokens.items())
        for entry in added if isinstance(added, list) else []:
            if isinstance(entry, dict) and isinstance(entry.get("content"), str):
                entries.append((entry.get("id"), entry))
        for i, entry in entries:
            if type(i) is int and 0 <= i < min(len(texts), len(scores), len(types)):
                texts[i], scores[i] = entry["content"], _ADDED_SCORE
                types[i] = TokenType.CONTROL if entry.get("special") else TokenType.USER_DEFINED
        self.fields.strings(_TOKEN_KEYS[0], texts)
        self.fields.f32s(_TOKEN_KEYS[1], scores)
        self.fields.i32s(_TOKEN_KEYS[2], types)

    def _list(self, key: str) -> list[Any]:
        value = self.fields.get(key)
        return list(value) if isinstance(value, list) else []


class PhiMoe(Phi3):
    """Experts in every layer; queries, keys and values each for themselves, biases everywhere."""

    architecture = "phimoe"
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
        **Phi3.config_defaults,
        "hidden_size": 4096,
        "intermediate_size": 6400,
        "num_key_value_heads": 8,
        "max_position_embeddings": 4096 * 32,
        "rope_theta": 1e6,
        "num_experts_per_tok": 2,
        "num_local_experts": 16,
    }

    def hyperparameters(self) -> None:
        super().hyperparameters()
        self.u32("expert_used_count", self.integer("num_experts_per_tok"))
        self.u32("expert_count", self.expert_count)
