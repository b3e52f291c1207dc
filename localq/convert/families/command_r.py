"""Cohere's Command-R, Aya, and Command-R7B (Cohere2).

References: llama.cpp `conversion/command_r.py`; transformers `models/cohere`, `models/cohere2`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from localq.convert.families.decoder import Decoder, TensorNames
from localq.convert.families.names import ATTENTION, EMBEDDINGS, GATED_MLP
from localq.convert.source_tensor import SourceTensor
from localq.errors import UnsupportedError
from localq.formats.rows import TensorSource
from localq.messages import msg

__all__ = ["Cohere2", "CommandR"]


class CommandR(Decoder):
    architecture = "command-r"
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **ATTENTION,
        **GATED_MLP,
        "model.layers.{i}.input_layernorm": "blk.{i}.attn_norm",
        "model.layers.{i}.self_attn.q_norm": "blk.{i}.attn_q_norm",
        "model.layers.{i}.self_attn.k_norm": "blk.{i}.attn_k_norm",
    }
    optional: ClassVar[frozenset[str]] = frozenset(
        {"output", "blk.{i}.attn_q_norm", "blk.{i}.attn_k_norm"}
    )
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 256000,
        "hidden_size": 8192,
        "intermediate_size": 22528,
        "logit_scale": 0.0625,
        "num_hidden_layers": 40,
        "num_attention_heads": 64,
        "max_position_embeddings": 8192,
        "layer_norm_eps": 1e-5,
        "rope_theta": 10000.0,
    }

    length_keys: ClassVar[tuple[str, ...]] = ("model_max_length", "max_position_embeddings")
    """The published max_position_embeddings is too small; the true length stands beside it."""

    def hyperparameters(self) -> None:
        self.config["max_position_embeddings"] = self.integer(*self.length_keys)
        self.config["num_key_value_heads"] = self.kv_heads
        super().hyperparameters()
        self.f32("logit_scale", self.number(self.config, "logit_scale"))
        self.positions()
        self.text("rope.scaling.type", "none")

    def positions(self) -> None:
        """Fields between the logits' scale and the rope's."""


class Cohere2(CommandR):
    """Three layers of four see only the last tokens; those alone know positions."""

    architecture = "cohere2"
    config_defaults: ClassVar[Mapping[str, Any]] = {
        **CommandR.config_defaults,
        "sliding_window": 4096,
        "rotary_pct": 1.0,
    }
    length_keys: ClassVar[tuple[str, ...]] = ("max_position_embeddings",)

    def hyperparameters(self) -> None:
        # transformers' config class sets it so whatever the file says.
        self.config["head_dim"] = self.integer("hidden_size") // self.heads
        super().hyperparameters()

    def positions(self) -> None:
        self.u32("attention.sliding_window", self.integer("sliding_window"))
        self.u32("vocab_size", self.integer("vocab_size"))
        rotary = self.number(self.config, "rotary_pct")
        self.u32("rope.dimension_count", int(rotary * self.integer("head_dim")))

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        """llama.cpp's Cohere2 has no biases; published ones are zero, and left out."""
        if not name.endswith(".bias"):
            yield from super().tensors_of(name, source)
            return
        if any(self.checkpoint.contents(source)):
            raise UnsupportedError(
                msg(
                    "{path}: llama.cpp's Cohere2 has no bias such as {name!r}",
                    path=source.path,
                    name=name[:200],
                ),
                hint=msg("take another model"),
            )
