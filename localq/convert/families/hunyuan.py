"""Hunyuan, with and without experts.

References: llama.cpp `conversion/hunyuan.py`; transformers `models/hunyuan_v1_dense`,
`models/hunyuan_v1_moe`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from localq.convert.families.decoder import Decoder, TensorNames
from localq.convert.families.names import ATTENTION, EMBEDDINGS, GATED_MLP, NORMS
from localq.convert.source_tensor import SourceTensor
from localq.convert.vocabulary.byte_level import write_byte_level
from localq.convert.vocabulary.files import TokenizerFiles
from localq.convert.vocabulary.tiktoken_ranks import HUNYUAN, write_ranks
from localq.formats.rows import TensorSource
from localq.messages import msg

__all__ = ["HunYuanDense", "HunYuanMoe"]

_BOS = "<|bos|>"
_CONTEXT = 256 * 1024
"""Which the stretched models read, whatever their config says."""


class HunYuanDense(Decoder):
    architecture = "hunyuan-dense"
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **ATTENTION,
        **NORMS,
        **GATED_MLP,
        "model.layers.{i}.self_attn.query_layernorm": "blk.{i}.attn_q_norm",
        "model.layers.{i}.self_attn.key_layernorm": "blk.{i}.attn_k_norm",
    }
    alpha: ClassVar[float] = 50.0
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 290943,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
    }

    def hyperparameters(self) -> None:
        super().hyperparameters()
        self.stretched()

    def stretched(self) -> None:
        """The rope's base grows by a power of alpha."""
        rope = self.rope_parameters()
        if rope.get("rope_type") != "dynamic":
            return
        base = self.number(rope, "rope_theta", 10000.0)
        alpha = self.number(rope, "alpha", self.alpha)
        width = self.head_dim
        if base <= 0 or alpha <= 0 or width < 3:
            raise self.bad_config(msg("impossible dynamic rope_scaling"))
        self.f32("rope.freq_base", base * alpha ** (width / (width - 2)))
        self.text("rope.scaling.type", "none")
        self.f32("rope.scaling.factor", 1)
        self.u32("rope.scaling.original_context_length", _CONTEXT)
        self.u32("context_length", _CONTEXT)

    def vocabulary(self, files: TokenizerFiles) -> None:
        self._warn(write_byte_level(files, self.fields))
        if self.config.get("eod_token_id") is not None:
            self.fields.u32("tokenizer.ggml.eos_token_id", self.count("eod_token_id"))

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        if name != "lm_head.weight" or not self.config.get("tie_word_embeddings"):
            yield from super().tensors_of(name, source)


class HunYuanMoe(HunYuanDense):
    """Every layer has as many experts, and one that all tokens go through."""

    architecture = "hunyuan-moe"
    names: ClassVar[TensorNames] = {
        **{name: made for name, made in HunYuanDense.names.items() if name not in GATED_MLP},
        "model.layers.{i}.mlp.gate.wg": "blk.{i}.ffn_gate_inp",
        **{
            f"model.layers.{{i}}.mlp.shared_mlp.{kind}_proj": f"blk.{{i}}.ffn_{kind}_shexp"
            for kind in ("gate", "up", "down")
        },
    }
    experts: ClassVar[TensorNames] = {
        f"model.layers.{{i}}.mlp.experts.{{e}}.{kind}_proj": f"blk.{{i}}.ffn_{kind}_exps"
        for kind in ("down", "gate", "up")
    }
    alpha: ClassVar[float] = 1000.0

    def hyperparameters(self) -> None:
        super(HunYuanDense, self).hyperparameters()
        self.u32("expert_shared_feed_forward_length", self.integer("intermediate_size"))
        self.u32("expert_feed_forward_length", self._of_all("moe_intermediate_size"))
        self.u32("expert_used_count", self._of_all("moe_topk"))
        self.u32("expert_shared_count", self._of_all("num_shared_expert"))
        self.stretched()

    def _of_all(self, key: str) -> int:
        """A number, or one for each layer, which must be the same: GGUF has one for all."""
        value = self.config.get(key)
        if isinstance(value, list) and value and value == value[:1] * len(value):
            value = value[0]
        if type(value) is not int or not 0 < value < 1 << 31:
            raise self.bad_config(msg("{key} is {value!r}", key=key, value=str(value)[:100]))
        return value

    def vocabulary(self, files: TokenizerFiles) -> None:
        if HUNYUAN.is_in(files):
            write_ranks(files, self.fields, HUNYUAN)
        else:
            self._warn(write_byte_level(files, self.fields))
        if (bos := _bos(self.fields.get("tokenizer.ggml.tokens"))) is not None:
            self.fields.u32("tokenizer.ggml.bos_token_id", bos)


def _bos(tokens: object) -> int | None:
    """The id of what begins a text, whatever config.json says."""
    return tokens.index(_BOS) if isinstance(tokens, list) and _BOS in tokens else None
