"""Llama 1 to 3.x and what is built the same way: SmolLM2, TinyLlama, Yi, DeepSeek-LLM.

Reference: llama.cpp `conversion/llama.py`; transformers `models/llama`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import pi
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from localq.convert.families.decoder import Decoder, TensorNames
from localq.convert.vocabulary.byte_level import write_byte_level
from localq.convert.vocabulary.files import TokenizerFiles
from localq.convert.vocabulary.sentencepiece import write_sentencepiece
from localq.errors import NotFoundError, UnsupportedError
from localq.formats.rows import TensorSource

__all__ = ["Llama"]


class Llama(Decoder):
    architecture = "llama"
    names: ClassVar[TensorNames] = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        "model.layers.{i}.input_layernorm": "blk.{i}.attn_norm",
        "model.layers.{i}.self_attn.q_proj": "blk.{i}.attn_q",
        "model.layers.{i}.self_attn.k_proj": "blk.{i}.attn_k",
        "model.layers.{i}.self_attn.v_proj": "blk.{i}.attn_v",
        "model.layers.{i}.self_attn.o_proj": "blk.{i}.attn_output",
        "model.layers.{i}.post_attention_layernorm": "blk.{i}.ffn_norm",
        "model.layers.{i}.mlp.gate_proj": "blk.{i}.ffn_gate",
        "model.layers.{i}.mlp.up_proj": "blk.{i}.ffn_up",
        "model.layers.{i}.mlp.down_proj": "blk.{i}.ffn_down",
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

    @property
    def heads(self) -> int:
        return self.integer("num_attention_heads")

    @property
    def kv_heads(self) -> int:
        return self.integer("num_key_value_heads", "num_attention_heads")

    @property
    def head_dim(self) -> int:
        if self.config.get("head_dim") is not None:
            return self.integer("head_dim")
        hidden = self.integer("hidden_size")
        if hidden % self.heads:
            raise self.bad_config(f"hidden_size {hidden} does not divide by {self.heads} heads")
        return hidden // self.heads

    def hyperparameters(self) -> None:
        # transformers' config class fills these two in, so the converter always writes them.
        self.config["head_dim"] = self.head_dim
        self.config["num_key_value_heads"] = self.kv_heads
        super().hyperparameters()
        self.u32("vocab_size", self.integer("vocab_size"))
        self.u32("rope.dimension_count", self.head_dim)

    def row_order(self, name: str, rows: int) -> npt.NDArray[np.intp] | None:
        """Undo the halves-first rotary layout of transformers: llama.cpp rotates neighbours."""
        if name.endswith((".q_proj.weight", ".q_proj.bias")):
            heads = self.heads
        elif name.endswith((".k_proj.weight", ".k_proj.bias")):
            heads = self.kv_heads
        else:
            return None
        if rows % (2 * heads):
            raise self.bad_config(f"{rows} rows of {name[:200]!r} do not divide by {heads} heads")
        order = np.arange(rows, dtype=np.intp).reshape(heads, 2, rows // heads // 2)
        return order.swapaxes(1, 2).ravel()

    def extra_tensors(self) -> Iterator[TensorSource]:
        rope = self.rope_parameters()
        if str(rope.get("rope_type")).lower() == "llama3":
            yield self.computed("rope_freqs.weight", self._llama3_factors(rope))

    def _llama3_factors(self, rope: dict[str, object]) -> npt.NDArray[np.float32]:
        """By how much each rotary frequency is slowed (Llama 3.1's long-context scaling)."""
        base = self.number(rope, "rope_theta", 10000.0)
        factor = self.number(rope, "factor", 8.0)
        low = self.number(rope, "low_freq_factor", 1.0)
        high = self.number(rope, "high_freq_factor", 4.0)
        context = self.number(rope, "original_max_position_embeddings", 8192)
        if min(base, factor, low, context) <= 0 or low >= high:
            raise self.bad_config("impossible llama3 rope_scaling")
        dim = self.head_dim
        exponents = np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim)
        # In float32 as torch computes them, so that the last bit agrees too.
        frequencies = np.float32(1.0) / np.power(np.float32(base), exponents)
        wavelengths = np.float32(2 * pi) / frequencies
        smooth = (np.float32(context) / wavelengths - np.float32(low)) / np.float32(high - low)
        between = 1 / ((1 - smooth) / np.float32(factor) + smooth)
        return np.where(
            wavelengths < np.float32(context / high),
            np.float32(1),
            np.where(wavelengths > np.float32(context / low), np.float32(factor), between),
        ).astype(np.float32)

    def vocabulary(self, files: TokenizerFiles) -> None:
        prefix = (files.tokenizer_config or {}).get("add_prefix_space")
        if isinstance(prefix, bool):
            self.fields.boolean("tokenizer.ggml.add_space_prefix", prefix)
        if files.sentencepiece_path.is_file():
            write_sentencepiece(files, self.fields)
        elif files.tokenizer_json is not None:
            if _is_sentencepiece_json(files):
                raise UnsupportedError(
                    f"{files.tokenizer_json_path}: a SentencePiece tokenizer without its "
                    "tokenizer.model, which localq cannot convert yet",
                    hint="put the model's tokenizer.model beside it",
                )
            self._warn(write_byte_level(files, self.fields))
        else:
            raise NotFoundError(
                f"{files.root}: neither tokenizer.model nor tokenizer.json in it",
                hint="pull the model again",
            )
        match self.config.get("vocab_size"):
            case 32016:  # CodeLlama: its fill-in-the-middle tokens
                for kind, token_id in (("prefix", 32007), ("suffix", 32008), ("middle", 32009)):
                    self.fields.u32(f"tokenizer.ggml.{kind}_token_id", token_id)
                self.fields.u32("tokenizer.ggml.eot_token_id", 32010)
            case 49152:  # SmolLM and Granite small: their BOS must not be added
                self.fields.boolean("tokenizer.ggml.add_bos_token", False)


def _is_sentencepiece_json(files: TokenizerFiles) -> bool:
    model = (files.tokenizer_json or {}).get("model")
    return isinstance(model, dict) and bool(model.get("byte_fallback"))
