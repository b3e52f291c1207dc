"""Gemma 1, 2 and 3 (of the latter what reads text), and EmbeddingGemma.

References: llama.cpp `conversion/gemma.py`; transformers `models/gemma`, `models/gemma2`,
`models/gemma3`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from localq.convert.families.decoder import Decoder, TensorNames
from localq.convert.families.dense_modules import DenseModule, dense_modules
from localq.convert.families.names import ATTENTION, EMBEDDINGS, GATED_MLP, NORMS
from localq.convert.families.pooling import pooling_type
from localq.convert.source_tensor import SourceTensor
from localq.convert.vocabulary.choose import write_vocabulary
from localq.convert.vocabulary.files import TokenizerFiles
from localq.errors import UnsupportedError
from localq.formats.rows import TensorSource, Transform
from localq.messages import msg

__all__ = ["Gemma", "Gemma2", "Gemma3", "GemmaEmbedding", "one_more"]

_END_OF_TURN = 107
_FOUR_NORMS: TensorNames = {
    "model.layers.{i}.input_layernorm": "blk.{i}.attn_norm",
    "model.layers.{i}.post_attention_layernorm": "blk.{i}.post_attention_norm",
    "model.layers.{i}.pre_feedforward_layernorm": "blk.{i}.ffn_norm",
    "model.layers.{i}.post_feedforward_layernorm": "blk.{i}.post_ffw_norm",
}


def _one_more(first: int, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return rows + np.float32(1)


def _one_more_in_half(first: int, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return (rows + np.float32(1)).astype(np.float16).astype(np.float32)


def one_more(dtype: str) -> Transform:
    """Add one, in the precision in which torch would."""
    return _one_more_in_half if dtype == "F16" else _one_more


class Gemma(Decoder):
    architecture = "gemma"
    names: ClassVar[TensorNames] = {**EMBEDDINGS, **ATTENTION, **NORMS, **GATED_MLP}
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 256000,
        "hidden_size": 3072,
        "intermediate_size": 24576,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "head_dim": 256,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
    }

    def hyperparameters(self) -> None:
        self._u32_from("context_length", "max_position_embeddings")
        self._u32_from("embedding_length", "hidden_size")
        self.u32("block_count", self.layers)
        self._u32_from("feed_forward_length", "intermediate_size")
        self.u32("attention.head_count", self.heads)
        self.u32("attention.head_count_kv", self.kv_heads)
        self.f32("attention.layer_norm_rms_epsilon", self.number(self.config, "rms_norm_eps"))
        self.u32("attention.key_length", self.head_dim)
        self.u32("attention.value_length", self.head_dim)
        self.file_type()

    def transform(self, name: str, dtype: str) -> Transform | None:
        """transformers' norms multiply by one more than their weights."""
        if not name.endswith("norm.weight"):
            return None
        return one_more(dtype)

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        if name != "lm_head.weight":  # always tied; some tools write it all the same
            yield self.tensor(name, source)

    def vocabulary(self, files: TokenizerFiles) -> None:
        self._warn(write_vocabulary(files, self.fields, prefix=False))
        self.fields.u32("tokenizer.ggml.eot_token_id", _END_OF_TURN)
        self.fields.boolean("tokenizer.ggml.add_space_prefix", False)


class Gemma2(Gemma):
    """Every other layer sees only a window; logits are kept within bounds."""

    architecture = "gemma2"
    names: ClassVar[TensorNames] = {**Gemma.names, **_FOUR_NORMS}
    config_defaults: ClassVar[Mapping[str, Any]] = {
        **Gemma.config_defaults,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    }
    large_layers: ClassVar[int] = 46
    """The number of layers by which llama.cpp knows the model with another attention scale."""

    def hyperparameters(self) -> None:
        super().hyperparameters()
        self._check_scale()
        for kind in ("attn", "final"):
            cap = self.number(self.config, f"{kind}_logit_softcapping")
            self.f32(f"{kind}_logit_softcapping", cap)
        self._u32_from("attention.sliding_window", "sliding_window")

    def _check_scale(self) -> None:
        """GGUF carries no attention scale for Gemma; llama.cpp derives it."""
        wanted = self.number(self.config, "query_pre_attn_scalar", 256)
        width = self.head_dim
        if self.layers == self.large_layers:
            width = self.integer("hidden_size") // self.heads
        if wanted != width:
            self._warn(
                msg(
                    "query_pre_attn_scalar is {wanted:g}, but llama.cpp will scale attention as"
                    " if it were {width}",
                    wanted=wanted,
                    width=width,
                )
            )

    def vocabulary(self, files: TokenizerFiles) -> None:
        self._warn(write_vocabulary(files, self.fields, prefix=False))
        self.fields.boolean("tokenizer.ggml.add_space_prefix", False)


class Gemma3(Gemma2):
    """Five layers of six see only a window, and turn by a base of their own."""

    architecture = "gemma3"
    names: ClassVar[TensorNames] = {
        **Gemma2.names,
        "model.layers.{i}.self_attn.q_norm": "blk.{i}.attn_q_norm",
        "model.layers.{i}.self_attn.k_norm": "blk.{i}.attn_k_norm",
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        **Gemma2.config_defaults,
        "vocab_size": 262208,
        "max_position_embeddings": 131072,
        "rope_theta": 1000000.0,
        "rope_local_base_freq": 10000.0,
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
    }
    large_layers: ClassVar[int] = 62

    def hyperparameters(self) -> None:
        if self.config.get("attn_logit_softcapping") is not None:
            raise UnsupportedError(
                msg(
                    "{root}: llama.cpp's Gemma 3 does not cap attention, as this model does",
                    root=self.checkpoint.root,
                ),
                hint=msg("take another model"),
            )
        Decoder.hyperparameters(self)
        self._check_scale()
        if self.config.get("final_logit_softcapping"):
            cap = self.number(self.config, "final_logit_softcapping")
            self.f32("final_logit_softcapping", cap)
        if self.config.get("sliding_window_pattern") != 1:
            self._u32_from("attention.sliding_window", "sliding_window")

    def refuse_other_sharing(self, windows: list[bool], shared: int) -> None:
        """llama.cpp lets the last layers share the keys of the two before them, of which the first
        sees a window."""
        own = windows[: self.layers - shared]
        if shared and own[-2:] != [True, False]:
            raise UnsupportedError(
                msg(
                    "{root}: llama.cpp cannot share keys between the layers of this model",
                    root=self.checkpoint.root,
                ),
                hint=msg("take another model"),
            )

    def vocabulary(self, files: TokenizerFiles) -> None:
        self._warn(write_vocabulary(files, self.fields, prefix=False))
        if files.sentencepiece_path.is_file():
            self.fields.boolean("tokenizer.ggml.add_space_prefix", False)


class GemmaEmbedding(Gemma3):
    """A vector for a text, made by the layers and two matrices behind them."""

    architecture = "gemma-embedding"

    def hyperparameters(self) -> None:
        super().hyperparameters()
        for dense in self.dense:
            self.u32(f"{dense.name}_feat_in", dense.width_in)
            self.u32(f"{dense.name}_feat_out", dense.width_out)
        if (pooling := pooling_type(self.checkpoint.root)) is not None:
            self.u32("pooling_type", pooling)

    @cached_property
    def dense(self) -> tuple[DenseModule, ...]:
        return dense_modules(self.checkpoint.root)

    def extra_tensors(self) -> Iterator[TensorSource]:
        for dense in self.dense:
            yield self.source_of(
                f"{dense.name}.weight",
                dense.weight.info.shape,
                [self.piece(dense.weight.info.name, dense.weight)],
            )
