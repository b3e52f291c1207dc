"""Qwen 1.5, 2, 2.5 and 3, with and without experts.

References: llama.cpp `conversion/qwen.py`; transformers `models/qwen2`, `models/qwen2_moe`,
`models/qwen3`, `models/qwen3_moe`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from localq.convert.checkpoint import Checkpoint
from localq.convert.families.decoder import Decoder, TensorNames
from localq.convert.families.names import ATTENTION, EMBEDDINGS, GATED_MLP, NORMS
from localq.convert.families.pooling import pooling_type
from localq.convert.source_tensor import SourceTensor
from localq.convert.vocabulary.choose import write_vocabulary
from localq.convert.vocabulary.files import TokenizerFiles
from localq.errors import UnsupportedError
from localq.formats.rows import TensorSource
from localq.messages import msg

__all__ = [
    "QUERY_KEY_NORMS",
    "Qwen2",
    "Qwen2Moe",
    "Qwen2Vl",
    "Qwen3",
    "Qwen3Moe",
    "Qwen3Vl",
    "Qwen3VlMoe",
]

_MATRICES = ("down", "gate", "up")
_ROUTER: TensorNames = {"model.layers.{i}.mlp.gate": "blk.{i}.ffn_gate_inp"}
_STACKED: TensorNames = {
    f"model.layers.{{i}}.mlp.experts.{{e}}.{kind}_proj": f"blk.{{i}}.ffn_{kind}_exps"
    for kind in _MATRICES
}
QUERY_KEY_NORMS: TensorNames = {
    "model.layers.{i}.self_attn.q_norm": "blk.{i}.attn_q_norm",
    "model.layers.{i}.self_attn.k_norm": "blk.{i}.attn_k_norm",
}


class Qwen2(Decoder):
    architecture = "qwen2"
    names: ClassVar[TensorNames] = {**EMBEDDINGS, **ATTENTION, **NORMS, **GATED_MLP}
    embeds: ClassVar[bool] = True
    """Whether there are models of the family whose vectors stand for texts."""
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 151936,
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
    }

    def hyperparameters(self) -> None:
        self.config["num_key_value_heads"] = self.kv_heads
        super().hyperparameters()
        if self.config.get("use_sliding_window") is True:
            self._warn(
                msg("llama.cpp's Qwen has no sliding window; long texts may read differently")
            )
        if self.embeds and (pooling := pooling_type(self.checkpoint.root)) is not None:
            self.u32("pooling_type", pooling)

    def vocabulary(self, files: TokenizerFiles) -> None:
        self._warn(write_vocabulary(files, self.fields))


class Qwen3(Qwen2):
    """Heads of their own width, whose queries and keys are normed."""

    architecture = "qwen3"
    names: ClassVar[TensorNames] = {**Qwen2.names, **QUERY_KEY_NORMS}
    config_defaults: ClassVar[Mapping[str, Any]] = {**Qwen2.config_defaults, "head_dim": 128}


class Qwen2Moe(Qwen2):
    """Experts, and beside them one that is always asked."""

    architecture = "qwen2moe"
    embeds = False
    norms_shares: ClassVar[bool] = False
    """Whether llama.cpp makes the chosen experts' shares add up to one."""
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **ATTENTION,
        **NORMS,
        **_ROUTER,
        "model.layers.{i}.mlp.shared_expert_gate": "blk.{i}.ffn_gate_inp_shexp",
        **{
            f"model.layers.{{i}}.mlp.shared_expert.{kind}_proj": f"blk.{{i}}.ffn_{kind}_shexp"
            for kind in _MATRICES
        },
    }
    experts: ClassVar[TensorNames] = _STACKED
    config_defaults: ClassVar[Mapping[str, Any]] = {
        **Qwen2.config_defaults,
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632,
        "num_experts_per_tok": 4,
        "num_experts": 60,
    }

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        if self.config.get("decoder_sparse_step", 1) != 1 or self.config.get("mlp_only_layers"):
            raise UnsupportedError(
                msg(
                    "{root}: llama.cpp's {architecture} has experts in every layer; this model"
                    " has them in some only",
                    root=checkpoint.root,
                    architecture=self.architecture,
                ),
                hint=msg("take another model"),
            )

    def hyperparameters(self) -> None:
        super().hyperparameters()
        self._u32_from("expert_feed_forward_length", "moe_intermediate_size")
        self._u32_from("expert_shared_feed_forward_length", "shared_expert_intermediate_size")
        if bool(self.config.get("norm_topk_prob")) is not self.norms_shares:
            self._warn(
                msg(
                    "norm_topk_prob is {value}, which llama.cpp's {architecture} cannot follow;"
                    " answers may differ",
                    value=not self.norms_shares,
                    architecture=self.architecture,
                )
            )


class Qwen3Moe(Qwen2Moe):
    """Qwen 3 with experts and none that is always asked."""

    architecture = "qwen3moe"
    norms_shares = True
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **ATTENTION,
        **NORMS,
        **_ROUTER,
        **QUERY_KEY_NORMS,
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        **Qwen2.config_defaults,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 24,
        "num_key_value_heads": 4,
        "moe_intermediate_size": 768,
        "num_experts_per_tok": 8,
        "num_experts": 128,
    }


class Qwen2Vl(Qwen2):
    """The part of Qwen2-VL and Qwen2.5-VL that reads text."""

    architecture = "qwen2vl"
    embeds = False


class _Deepstack(Qwen2):
    """The first layers get what some layers of the picture encoder saw."""

    def hyperparameters(self) -> None:
        super().hyperparameters()
        vision = self.checkpoint.config.get("vision_config")
        layers = vision.get("deepstack_visual_indexes") if isinstance(vision, dict) else None
        self.u32("n_deepstack_layers", len(layers) if isinstance(layers, list) else 0)


class Qwen3Vl(_Deepstack, Qwen3):
    """The part of Qwen3-VL that reads text."""

    architecture = "qwen3vl"


class Qwen3VlMoe(_Deepstack, Qwen3Moe):
    """Its experts lie in one tensor each, turned."""

    architecture = "qwen3vlmoe"
    experts: ClassVar[TensorNames] = {}
    exact: ClassVar[TensorNames] = {
        "model.layers.{i}.mlp.experts.down_proj": "blk.{i}.ffn_down_exps.weight",
        "model.layers.{i}.mlp.experts.gate_up_proj": "blk.{i}.ffn_gate_exps.weight",
    }

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        if name.endswith((".experts.down_proj", ".experts.gate_up_proj")):
            yield from self.turned_stacks(name, source)
        else:
            yield from super().tensors_of(name, source)
