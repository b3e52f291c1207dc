"""Nemotron-H and Nemotron 3: in every layer a state, attention, or a feed-forward network alone.

References: llama.cpp `conversion/nemotron.py`; transformers `models/nemotron_h`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from localq.convert.checkpoint import Checkpoint
from localq.convert.families.decoder import TensorNames
from localq.convert.families.state_space import (
    LONGEST,
    StateSpace,
    state_names,
    state_vectors,
)
from localq.convert.source_tensor import SourceTensor
from localq.convert.vocabulary.byte_level import write_byte_level
from localq.convert.vocabulary.files import TokenizerFiles
from localq.formats.rows import TensorSource
from localq.messages import msg

__all__ = ["NemotronH"]

_MIXER = "backbone.layers.{i}.mixer"
_KINDS: Mapping[str, str] = {
    **{"M": "state", "mamba": "state", "linear_attention": "state"},
    **{"*": "attention", "attention": "attention", "full_attention": "attention"},
    **{"-": "dense", "mlp": "dense", "E": "experts", "moe": "experts"},
}
_OF_KIND: Mapping[str, tuple[str, ...]] = {
    "state": ("ssm_in", "ssm_conv1d", "ssm_out", "ssm_norm"),
    "attention": ("attn_q", "attn_k", "attn_v", "attn_output"),
    "dense": ("ffn_up", "ffn_down"),
    "experts": (
        *("ffn_gate_inp", "ffn_up_exps", "ffn_down_exps", "ffn_up_shexp", "ffn_down_shexp"),
        *("ffn_latent_down", "ffn_latent_up"),
    ),
}


class NemotronH(StateSpace):
    architecture = "nemotron_h"
    names: ClassVar[TensorNames] = {
        "backbone.embeddings": "token_embd",
        "backbone.norm_f": "output_norm",
        "lm_head": "output",
        "backbone.layers.{i}.norm": "blk.{i}.attn_norm",
        **state_names(_MIXER),
        f"{_MIXER}.norm": "blk.{i}.ssm_norm",
        f"{_MIXER}.q_proj": "blk.{i}.attn_q",
        f"{_MIXER}.k_proj": "blk.{i}.attn_k",
        f"{_MIXER}.v_proj": "blk.{i}.attn_v",
        f"{_MIXER}.o_proj": "blk.{i}.attn_output",
        f"{_MIXER}.up_proj": "blk.{i}.ffn_up",
        f"{_MIXER}.down_proj": "blk.{i}.ffn_down",
        f"{_MIXER}.gate": "blk.{i}.ffn_gate_inp",
        f"{_MIXER}.shared_experts.up_proj": "blk.{i}.ffn_up_shexp",
        f"{_MIXER}.shared_experts.down_proj": "blk.{i}.ffn_down_shexp",
        f"{_MIXER}.fc1_latent_proj": "blk.{i}.ffn_latent_down",
        f"{_MIXER}.fc2_latent_proj": "blk.{i}.ffn_latent_up",
    }
    exact: ClassVar[TensorNames] = {
        **state_vectors(_MIXER),
        f"{_MIXER}.dt_bias": "blk.{i}.ssm_dt.bias",
        f"{_MIXER}.gate.e_score_correction_bias": "blk.{i}.exp_probs_b.bias",
    }
    experts: ClassVar[TensorNames] = {
        f"{_MIXER}.experts.{{e}}.{kind}_proj": f"blk.{{i}}.ffn_{kind}_exps"
        for kind in ("down", "up")
    }
    vocabulary_multiple = 8
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 131072,
        "num_key_value_heads": 8,
        "norm_topk_prob": True,
        "routed_scaling_factor": 1.0,
    }

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self.fill_up()
        pattern = self.config.get("hybrid_override_pattern")
        if pattern is None:
            pattern = self.config.get("layers_block_type")
        if not isinstance(pattern, str | list) or len(pattern) != self.layers:
            raise self.bad_config(msg("layer_types is no list of {layers}", layers=self.layers))
        self.kinds = [_KINDS.get(str(kind), "") for kind in pattern]
        self.has_experts = self.config.get("num_experts_per_tok") is not None
        if self.has_experts:
            self.architecture = "nemotron_h_moe"

    @property
    def head_dim(self) -> int:
        return self.integer("head_dim", "attention_head_dim")

    def lacks(self, gguf_name: str, layer: int) -> bool:
        kind = gguf_name.rpartition("blk.{i}.")[2]
        if kind == "attn_norm":
            return False
        if kind.startswith("ffn_latent_") and self.config.get("moe_latent_size") is None:
            return True
        return kind not in _OF_KIND.get(self.kinds[layer], ())

    def hyperparameters(self) -> None:
        width = self.head_dim
        hidden = self.config.pop("head_dim", None)
        super().hyperparameters()
        self.config["head_dim"] = hidden
        self.u32("vocab_size", self.integer("vocab_size"))
        self.u32("rope.dimension_count", self.integer("hidden_size") // self.heads)
        self.u32("ssm.conv_kernel", self.integer("conv_kernel", "mamba_d_conv"))
        self.u32("ssm.state_size", self.integer("ssm_state_size", "state_size", "mamba_d_state"))
        self.u32("ssm.group_count", self.norm_groups())
        heads = self.integer("mamba_num_heads")
        self.u32("ssm.inner_size", heads * self.integer("mamba_head_dim"))
        self.u32("ssm.time_step_rank", heads)
        kept = self.kv_heads
        attends = [kept if kind == "attention" else 0 for kind in self.kinds]
        self.i32s("attention.head_count_kv", attends)
        self.flag("rope.scaling.finetuned", False)
        self.u32("context_length", LONGEST)
        self.u32("attention.key_length", width)
        self.u32("attention.value_length", width)
        own, key = ("experts", "moe_intermediate_size") if self.has_experts else ("dense", "")
        wide = self.integer(key or "intermediate_size")
        self.i32s("feed_forward_length", [wide if kind == own else 0 for kind in self.kinds])
        if self.has_experts:
            self._experts(wide)

    def _experts(self, width: int) -> None:
        self.u32("expert_feed_forward_length", width)
        shared = self.integer("moe_shared_expert_intermediate_size")
        self.u32("expert_shared_feed_forward_length", shared)
        self.u32("expert_shared_count", self.count("n_shared_experts"))
        self.flag("expert_weights_norm", bool(self.config["norm_topk_prob"]))
        self.f32("expert_weights_scale", self.number(self.config, "routed_scaling_factor"))
        self._u32_from("moe_latent_size", "moe_latent_size")

    def vocabulary(self, files: TokenizerFiles) -> None:
        self._warn(write_byte_level(files, self.fields))

    def row_order(self, name: str, rows: int) -> npt.NDArray[np.intp] | None:
        """llama.cpp's converter turns them as Llama's; without a rope any order is right."""
        if name.endswith(".q_proj.weight"):
            return self.rotary_rows(name, rows, self.heads)
        if name.endswith(".k_proj.weight"):
            return self.rotary_rows(name, rows, self.kv_heads)
        return None

    def renamed(self, name: str) -> str:
        name = name.replace(".e_score_correction.bias", ".e_score_correction_bias")
        return name.replace("model.", "backbone.", 1) if name.startswith("model.") else name

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        if not name.startswith("mtp."):  # which predicts further tokens
            yield from super().tensors_of(name, source)
