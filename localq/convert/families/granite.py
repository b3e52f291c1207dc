"""Granite 3: Llama with scales of its own, with and without experts; Granite 4, also hybrid.

References: llama.cpp `conversion/granite.py`; transformers `models/granite`, `models/granitemoe`,
`models/granitemoeshared`, `models/granitemoehybrid`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from localq.convert.checkpoint import Checkpoint
from localq.convert.families.decoder import TensorNames
from localq.convert.families.llama import Llama
from localq.convert.families.names import ATTENTION, EMBEDDINGS, NORMS
from localq.convert.families.state_space import (
    LONGEST,
    StateSpace,
    state_names,
    state_vectors,
)
from localq.convert.source_tensor import SourceTensor
from localq.convert.vocabulary.choose import write_vocabulary
from localq.convert.vocabulary.files import TokenizerFiles
from localq.formats.rows import TensorSource
from localq.messages import msg

__all__ = ["Granite", "GraniteHybrid", "GraniteMoe"]

_STATE = "model.layers.{i}.mamba"

_SCALES = (
    ("attention.scale", "attention_multiplier"),
    ("embedding_scale", "embedding_multiplier"),
    ("residual_scale", "residual_multiplier"),
    ("logit_scale", "logits_scaling"),
)


class Granite(Llama):
    architecture = "granite"
    writes_head_dim = False
    config_defaults: ClassVar[Mapping[str, Any]] = {
        **Llama.config_defaults,
        **{config_key: 1.0 for _, config_key in _SCALES},
    }

    def hyperparameters(self) -> None:
        # A width of heads in the config is one that transformers ignores too.
        self.config.pop("head_dim", None)
        super().hyperparameters()
        for key, config_key in _SCALES:
            if self.config[config_key]:
                self.f32(key, self.number(self.config, config_key))


class GraniteMoe(Granite):
    """Experts whose gate and way up are one tensor; Shared: beside them one always asked."""

    architecture = "granitemoe"
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **ATTENTION,
        **NORMS,
        "model.layers.{i}.block_sparse_moe.router.layer": "blk.{i}.ffn_gate_inp",
        "model.layers.{i}.block_sparse_moe.input_linear": "blk.{i}.ffn_gate_exps",
        "model.layers.{i}.block_sparse_moe.output_linear": "blk.{i}.ffn_down_exps",
        "model.layers.{i}.shared_mlp.input_linear": "blk.{i}.ffn_gate_shexp",
        "model.layers.{i}.shared_mlp.output_linear": "blk.{i}.ffn_down_shexp",
    }
    optional: ClassVar[frozenset[str]] = Granite.optional | {
        "blk.{i}.ffn_gate_shexp",
        "blk.{i}.ffn_down_shexp",
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        **Granite.config_defaults,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    }

    def hyperparameters(self) -> None:
        super().hyperparameters()
        if self.config.get("shared_intermediate_size"):
            self._u32_from("expert_shared_feed_forward_length", "shared_intermediate_size")

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        if not name.endswith(".input_linear.weight"):
            yield self.tensor(name, source)
            return
        gate = self.gguf_name(name, source)
        yield from self.halves(name, source, gate, gate.replace("ffn_gate", "ffn_up"))


class GraniteHybrid(StateSpace, GraniteMoe):
    """Granite 4: a state in most layers; with experts or without. Those that have attention in
    every layer are the Granite of before."""

    architecture = "granitehybrid"
    names: ClassVar[TensorNames] = {
        **GraniteMoe.names,
        **state_names(_STATE),
        f"{_STATE}.norm": "blk.{i}.ssm_norm",
    }
    exact: ClassVar[TensorNames] = {
        **state_vectors(_STATE),
        f"{_STATE}.dt_bias": "blk.{i}.ssm_dt.bias",
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        **GraniteMoe.config_defaults,
        "shared_intermediate_size": 1024,
        "mamba_n_heads": 128,
        "mamba_n_groups": 1,
        "mamba_d_state": 256,
        "mamba_d_conv": 4,
        "mamba_expand": 2,
    }

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        kinds = self.config.get("layer_types")
        if not isinstance(kinds, list) or len(kinds) != self.layers:
            raise self.bad_config(msg("layer_types is no list of {layers}", layers=self.layers))
        self.attends: list[bool] = [kind == "attention" for kind in kinds]
        self.vocabulary_multiple = 1 if all(self.attends) else 8
        self.fill_up()
        if all(self.attends):
            self.architecture = "granitemoe" if self.count("num_experts_per_tok") else "granite"

    @property
    def has_experts(self) -> bool:
        return self.count("num_local_experts") > 0

    def lacks(self, gguf_name: str, layer: int) -> bool:
        kind = gguf_name.rpartition("blk.{i}.")[2]
        if kind.startswith("ssm_"):
            return self.attends[layer]
        if kind in ("attn_q", "attn_k", "attn_v", "attn_output"):
            return not self.attends[layer]
        return kind in ("ffn_gate_inp", "ffn_gate_exps", "ffn_down_exps") and not self.has_experts

    def gguf_name(self, name: str, source: SourceTensor) -> str:
        """What is always asked is the whole network where there are no experts beside it."""
        made = super().gguf_name(name, source)
        return made if self.has_experts else made.replace("_shexp", "")

    def hyperparameters(self) -> None:
        GraniteMoe.hyperparameters(self)
        self.u32("ssm.conv_kernel", self.integer("mamba_d_conv"))
        self.u32("ssm.state_size", self.integer("mamba_d_state"))
        self.u32("ssm.group_count", self.norm_groups())
        inner = self.integer("mamba_expand") * self.integer("hidden_size")
        self.u32("ssm.inner_size", inner)
        self.u32("ssm.time_step_rank", self.integer("mamba_n_heads"))
        kept = self.kv_heads
        self.i32s("attention.head_count_kv", [kept if own else 0 for own in self.attends])
        self.flag("rope.scaling.finetuned", all(self.attends))
        if not all(self.attends):  # without a rope there is no end
            self.u32("context_length", LONGEST)

    def vocabulary(self, files: TokenizerFiles) -> None:
        self._warn(write_vocabulary(files, self.fields))

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        of = StateSpace if ".mamba." in name else GraniteMoe
        yield from of.tensors_of(self, name, source)
