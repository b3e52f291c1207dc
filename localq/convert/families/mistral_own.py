"""Mistral's models as Mistral saves them: params.json and consolidated.safetensors.

The rows of queries and keys are in llama.cpp's order already. Reference: llama.cpp
`conversion/mistral.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from localq.convert.checkpoint import Checkpoint
from localq.convert.families.decoder import Decoder, TensorNames
from localq.convert.vocabulary.choose import write_vocabulary
from localq.convert.vocabulary.files import TokenizerFiles
from localq.convert.vocabulary.tekken import has_tekken_alone, write_tekken
from localq.messages import msg

__all__ = ["MistralOwn"]

_USUAL_CONTEXT = 32768


class MistralOwn(Decoder):
    architecture = "llama"
    names: ClassVar[TensorNames] = {
        "tok_embeddings": "token_embd",
        "norm": "output_norm",
        "output": "output",
        "layers.{i}.attention.wq": "blk.{i}.attn_q",
        "layers.{i}.attention.wk": "blk.{i}.attn_k",
        "layers.{i}.attention.wv": "blk.{i}.attn_v",
        "layers.{i}.attention.wo": "blk.{i}.attn_output",
        "layers.{i}.attention_norm": "blk.{i}.attn_norm",
        "layers.{i}.ffn_norm": "blk.{i}.ffn_norm",
        "layers.{i}.feed_forward.w1": "blk.{i}.ffn_gate",
        "layers.{i}.feed_forward.w2": "blk.{i}.ffn_down",
        "layers.{i}.feed_forward.w3": "blk.{i}.ffn_up",
    }

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        if isinstance(self.config.get("llama_4_scaling"), dict):
            self.architecture = "mistral3"

    def hyperparameters(self) -> None:
        config = self.config
        if config.get("max_position_embeddings") is None:
            config["max_position_embeddings"] = _USUAL_CONTEXT
            self._warn(
                msg("params.json names no context; {tokens:,} was taken", tokens=_USUAL_CONTEXT)
            )
        super().hyperparameters()
        self.u32("rope.dimension_count", self.head_dim)
        self._stretched()
        if isinstance(scaling := config.get("llama_4_scaling"), dict):
            self.f32("attention.temperature_scale", self.number(scaling, "beta"))

    def _stretched(self) -> None:
        """Beyond the context it was trained on first."""
        yarn: Mapping[str, Any] | None = self.config.get("yarn")
        if not isinstance(yarn, dict):
            return
        self.text("rope.scaling.type", "yarn")
        self.f32("rope.scaling.factor", self.number(yarn, "factor"))
        self.f32("rope.scaling.yarn_beta_fast", self.number(yarn, "beta"))
        self.f32("rope.scaling.yarn_beta_slow", self.number(yarn, "alpha"))
        scaled = yarn.get("apply_scale") is True
        self.f32("rope.scaling.yarn_log_multiplier", 0.0 if scaled else 1.0)
        original = int(self.number(yarn, "original_max_position_embeddings"))
        self.u32("rope.scaling.original_context_length", original)

    def vocabulary(self, files: TokenizerFiles) -> None:
        if has_tekken_alone(files):
            size = f"{self.architecture}.vocab_size"
            self._warn(write_tekken(files, self.fields, size_key=size))
        else:
            self.u32("vocab_size", self.integer("vocab_size"))
            self._warn(write_vocabulary(files, self.fields))
