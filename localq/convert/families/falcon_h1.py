"""Falcon-H1: a state and attention side by side in every layer.

Its factors are multiplied into the weights. References: llama.cpp `conversion/falcon_h1.py`;
transformers `models/falcon_h1`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from localq.convert.families.decoder import TensorNames
from localq.convert.families.names import ATTENTION
from localq.convert.families.state_space import StateSpace, state_names, state_vectors
from localq.convert.vocabulary.byte_level import write_byte_level
from localq.convert.vocabulary.files import TokenizerFiles
from localq.formats.rows import Transform
from localq.messages import msg

__all__ = ["FalconH1"]

_STATE = "model.layers.{i}.mamba"
_IN = "attention_in_multiplier"


class FalconH1(StateSpace):
    architecture = "falcon-h1"
    names: ClassVar[TensorNames] = {
        "model.embed_tokens": "token_embd",
        "model.final_layernorm": "output_norm",
        "lm_head": "output",
        "model.layers.{i}.input_layernorm": "blk.{i}.attn_norm",
        **ATTENTION,
        **state_names(_STATE),
        f"{_STATE}.norm": "blk.{i}.ssm_norm",
        **{
            f"model.layers.{{i}}.feed_forward.{kind}_proj": f"blk.{{i}}.ffn_{kind}"
            for kind in ("gate", "up", "down")
        },
    }
    exact: ClassVar[TensorNames] = {
        **state_vectors(_STATE),
        f"{_STATE}.dt_bias": "blk.{i}.ssm_dt.bias",
        "model.layers.{i}.pre_ff_layernorm.weight": "blk.{i}.ffn_norm",
    }
    optional: ClassVar[frozenset[str]] = frozenset({"output", "blk.{i}.ssm_norm"})
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 128000,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 8192,
        "mamba_d_ssm": 1024,
        "mamba_n_heads": 128,
        "mamba_n_groups": 1,
        "mamba_d_state": 256,
        "mamba_d_conv": 4,
        "rope_theta": 100000.0,
    }

    def hyperparameters(self) -> None:
        inner = self.integer("mamba_d_ssm")
        width = inner // self.integer("mamba_n_heads")
        if self.config.get("mamba_d_head") not in (None, "auto"):
            width = self.integer("mamba_d_head")
        if not width or inner % width:
            raise self.bad_config(
                msg("{inner} does not divide by head_dim {width}", inner=inner, width=width)
            )
        self.u32("context_length", self.integer("max_position_embeddings"))
        self.u32("embedding_length", self.integer("hidden_size"))
        self.u32("feed_forward_length", self.integer("intermediate_size"))
        self.u32("attention.head_count", self.heads)
        self.u32("block_count", self.layers)
        self.u32("ssm.conv_kernel", self.integer("mamba_d_conv"))
        self.u32("ssm.inner_size", inner)
        self.u32("ssm.state_size", self.integer("mamba_d_state"))
        self.u32("ssm.time_step_rank", inner // width)
        self.u32("ssm.group_count", self.norm_groups())
        self.f32("attention.layer_norm_rms_epsilon", self.number(self.config, "rms_norm_eps"))
        self.file_type()
        self.u32("vocab_size", self.integer("vocab_size"))
        self.u32("attention.head_count_kv", self.kv_heads)
        self.u32("attention.key_length", self.head_dim)
        self.u32("attention.value_length", self.head_dim)
        self.f32("rope.freq_base", self.number(self.rope_parameters(), "rope_theta"))

    def vocabulary(self, files: TokenizerFiles) -> None:
        self._warn(write_byte_level(files, self.fields))

    def transform(self, name: str, dtype: str) -> Transform | None:
        kind = name.removesuffix(".weight").rpartition(".")[2]
        if kind == "in_proj":
            return _by_factors(dtype, [self._factor("ssm_in_multiplier"), self._of_states()])
        factors = {
            "down_proj": lambda: [self._several("mlp_multipliers", 2)[1]],
            "gate_proj": lambda: [self._several("mlp_multipliers", 2)[0]],
            "k_proj": lambda: [self._factor("key_multiplier"), self._factor(_IN)],
            "q_proj": lambda: [self._factor(_IN)],
            "v_proj": lambda: [self._factor(_IN)],
            "o_proj": lambda: [self._factor("attention_out_multiplier")],
            "out_proj": lambda: [self._factor("ssm_out_multiplier")],
            "lm_head": lambda: [self._factor("lm_head_multiplier")],
            "embed_tokens": lambda: [self._factor("embedding_multiplier")],
        }.get(kind)
        return super().transform(name, dtype) if factors is None else _by_factors(dtype, factors())

    def _factor(self, key: str) -> float:
        return 1.0 if self.config.get(key) is None else self.number(self.config, key)

    def _several(self, key: str, count: int) -> list[float]:
        values = self.config.get(key)
        if values is None:
            return [1.0] * count
        if not isinstance(values, list) or len(values) != count:
            raise self.bad_config(msg("{key} is no list of {count} numbers", key=key, count=count))
        return [self.number({key: value}, key) for value in values]

    def _of_states(self) -> npt.NDArray[np.float32]:
        """A factor for each row: of gates, states, what goes in, what comes out, and time steps."""
        inner, groups = self.integer("mamba_d_ssm"), self.norm_groups()
        wide = groups * self.integer("mamba_d_state")
        widths = (inner, inner, wide, wide, self.integer("mamba_n_heads"))
        if sum(widths) > 1 << 24:
            raise self.bad_config(msg("{key} is {value!r}", key="mamba_d_ssm", value=inner))
        factors = self._several("ssm_multipliers", 5)
        return np.repeat(np.array(factors, np.float32), widths)


def _by_factors(dtype: str, factors: Sequence[float | npt.NDArray[np.float32]]) -> Transform:
    """Multiply by one factor after the other, in the precision in which torch would."""

    def multiply(first: int, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        for factor in factors:
            if isinstance(factor, np.ndarray):
                rows = rows * factor[first : first + len(rows), None]
            else:
                rows = rows * np.float32(factor)
            if dtype == "F16":
                rows = rows.astype(np.float16).astype(np.float32)
        return rows

    return multiply
