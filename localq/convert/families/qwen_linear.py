"""Qwen3-Next and Qwen3.5, with and without experts: most layers keep a state instead of keys.

References: llama.cpp `conversion/qwen.py`; transformers `models/qwen3_next`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from localq.convert.checkpoint import Checkpoint
from localq.convert.families.decoder import TensorNames
from localq.convert.families.gemma import one_more
from localq.convert.families.names import ATTENTION, EMBEDDINGS, GATED_MLP
from localq.convert.families.qwen import QUERY_KEY_NORMS, Qwen2Moe
from localq.convert.families.state_space import negative_exponential
from localq.convert.source_tensor import SourceTensor
from localq.formats.rows import TensorSource, Transform
from localq.messages import msg

__all__ = ["Qwen3Next", "Qwen35", "Qwen35Moe"]

_LINEAR = "model.layers.{i}.linear_attn"
_NORMS: TensorNames = {
    "model.layers.{i}.input_layernorm": "blk.{i}.attn_norm",
    "model.layers.{i}.post_attention_layernorm": "blk.{i}.post_attention_norm",
}
_STATE: TensorNames = {
    f"{_LINEAR}.conv1d": "blk.{i}.ssm_conv1d",
    f"{_LINEAR}.norm": "blk.{i}.ssm_norm",
    f"{_LINEAR}.out_proj": "blk.{i}.ssm_out",
}
_STATE_EXACT: TensorNames = {
    f"{_LINEAR}.A_log": "blk.{i}.ssm_a",
    f"{_LINEAR}.dt_bias": "blk.{i}.ssm_dt.bias",
}
_NEXT_TOKENS: TensorNames = {
    "model.layers.{i}.eh_proj": "blk.{i}.nextn.eh_proj",
    "model.layers.{i}.enorm": "blk.{i}.nextn.enorm",
    "model.layers.{i}.hnorm": "blk.{i}.nextn.hnorm",
    "model.layers.{i}.shared_head.norm": "blk.{i}.nextn.shared_head_norm",
}
_MTP = re.compile(r"(?:model\.)?mtp\.(.+)")
_MTP_LAYER = re.compile(r"(?:.*\.)?mtp\.layers\.(\d{1,3})\.")
_MTP_NAMES: Mapping[str, str] = {
    "fc": "eh_proj",
    "pre_fc_norm_embedding": "enorm",
    "pre_fc_norm_hidden": "hnorm",
    "norm": "shared_head.norm",
}
_DEFAULT_SECTIONS = (11, 11, 10, 0)


class _LinearAttention(Qwen2Moe):
    """Every so many layers attention as usual, with a gate; the others keep a state."""

    norms_shares = True
    embeds: ClassVar[bool] = False
    optional: ClassVar[frozenset[str]] = frozenset({"output"})

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self.own_layers = self.layers
        layers = [int(m[1]) for name in checkpoint.tensors if (m := _MTP_LAYER.match(name))]
        self.layers += max(layers, default=-1) + 1
        """Layers that predict further tokens come last."""

    def is_linear(self, layer: int) -> bool:
        types = self.config.get("layer_types")
        if isinstance(types, list):
            return layer < len(types) and types[layer] == "linear_attention"
        return layer < self.own_layers and (layer + 1) % self._interval != 0

    @property
    def _interval(self) -> int:
        given = self.config.get("full_attention_interval") is not None
        return self.integer("full_attention_interval") if given else 4

    def lacks(self, gguf_name: str, layer: int) -> bool:
        kind = gguf_name.rpartition("blk.{i}.")[2]
        if kind.startswith("nextn."):
            return layer != self.own_layers
        if kind in ("attn_q", "attn_k", "attn_v", "attn_output", "attn_q_norm", "attn_k_norm"):
            return self.is_linear(layer)
        if kind.startswith("ssm_") or kind in ("attn_gate", "attn_qkv"):
            return not self.is_linear(layer)
        return False

    def renamed(self, name: str) -> str:
        match = _MTP.fullmatch(name)
        if match is None:
            return name
        rest = match[1]
        if layer := re.match(r"layers\.(\d{1,3})\.", rest):
            return f"model.layers.{self.own_layers + int(layer[1])}.{rest[layer.end() :]}"
        first, _, suffix = rest.partition(".")
        return f"model.layers.{self.own_layers}.{_MTP_NAMES.get(first, first)}.{suffix}"

    def hyperparameters(self) -> None:
        types = self.config.get("layer_types")
        if types is not None and (not isinstance(types, list) or len(types) != self.own_layers):
            raise self.bad_config(
                msg("layer_types is no list of {own_layers}", own_layers=self.own_layers)
            )
        super().hyperparameters()
        if self.layers > self.own_layers:
            self.u32("nextn_predict_layers", self.layers - self.own_layers)
        values = self.integer("linear_num_value_heads")
        self.u32("ssm.conv_kernel", self.integer("linear_conv_kernel_dim"))
        self.u32("ssm.state_size", self.integer("linear_key_head_dim"))
        self.u32("ssm.group_count", self.integer("linear_num_key_heads"))
        self.u32("ssm.time_step_rank", values)
        self.u32("ssm.inner_size", self.integer("linear_value_head_dim") * values)
        recurrent = [self.is_linear(layer) for layer in range(self.layers)]
        self.flags("attention.recurrent_layers", recurrent)
        self.u32("full_attention_interval", self._interval)
        share = self.number(self.rope_parameters(), "partial_rotary_factor", 0.25)
        self.u32("rope.dimension_count", int(self.head_dim * share))

    def transform(self, name: str, dtype: str) -> Transform | None:
        if name.endswith(".A_log"):
            return negative_exponential
        if name.endswith("norm.weight") and not name.endswith("linear_attn.norm.weight"):
            return one_more(dtype)
        return None

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        if name.endswith(".conv1d.weight"):
            piece = self.piece(name, source)
            shape = (piece.rows, piece.columns)
            yield self.source_of(self.gguf_name(name, source), shape, [piece])
        elif name.endswith("mlp.experts.gate_up_proj"):
            layer = name.split(".")[2]
            kinds = (f"blk.{layer}.ffn_{kind}_exps.weight" for kind in ("gate", "up"))
            yield from self.halves(name, source, *kinds)
        else:
            yield from super().tensors_of(name, source)

    def _heads(self) -> tuple[int, int, int, int]:
        """Key heads, value heads for each, and the widths of both."""
        keys, values = (self.integer(f"linear_num_{kind}_heads") for kind in ("key", "value"))
        if values % keys:
            raise self.bad_config(
                msg(
                    "{values} value heads do not divide by {keys} key heads",
                    values=values,
                    keys=keys,
                )
            )
        widths = (self.integer(f"linear_{kind}_head_dim") for kind in ("key", "value"))
        return keys, values // keys, *widths  # type: ignore[return-value]


class Qwen3Next(_LinearAttention):
    architecture = "qwen3next"
    names: ClassVar[TensorNames] = {
        **Qwen2Moe.names,
        **_NORMS,
        **QUERY_KEY_NORMS,
        **_STATE,
        **_NEXT_TOKENS,
        f"{_LINEAR}.in_proj_ba": "blk.{i}.ssm_ba",
    }
    exact: ClassVar[TensorNames] = _STATE_EXACT
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 151936,
        "num_key_value_heads": 2,
        "head_dim": 256,
        "rms_norm_eps": 1e-6,
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 32,
    }

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        if not name.endswith(".in_proj_qkvz.weight"):
            yield from super().tensors_of(name, source)
            return
        layer = name.split(".")[2]
        piece = self.piece(name, source)
        keys, share, key, value = self._heads()
        if piece.rows != keys * 2 * (key + share * value):
            raise self.bad_config(
                msg(
                    "{rows} rows of {name!r} are not of those heads",
                    rows=piece.rows,
                    name=name[:200],
                )
            )
        # Each key head's query, key, values and gates come together.
        rows = np.arange(piece.rows, dtype=np.intp).reshape(keys, -1)
        ends = np.cumsum([key, key, share * value])
        query, keys_, values, gates = np.split(rows, ends, axis=1)
        qkv = np.concatenate([query.ravel(), keys_.ravel(), values.ravel()])
        for kind, order in (("attn_qkv", qkv), ("attn_gate", gates.ravel())):
            shape = (len(order), piece.columns)
            made = f"blk.{layer}.{kind}.weight"
            yield self.source_of(made, shape, [replace(piece, order=order)])


class _Qwen35(_LinearAttention):
    """Value heads of one key come together in checkpoints; ggml repeats keys in turn."""

    def hyperparameters(self) -> None:
        super().hyperparameters()
        if "mrope_section" not in self.rope_parameters():
            self.i32s("rope.dimension_sections", _DEFAULT_SECTIONS)

    def row_order(self, name: str, rows: int) -> npt.NDArray[np.intp] | None:
        if ".linear_attn." not in name:
            return None
        keys, share, key, value = self._heads()
        first = 0
        if ".in_proj_qkv." in name or ".conv1d." in name:
            first, width = 2 * keys * key, value
        elif ".in_proj_z." in name:
            width = value
        elif name.endswith((".in_proj_a.weight", ".in_proj_b.weight", ".A_log", ".dt_bias")):
            width = 1
        else:
            return None
        if rows != first + keys * share * width:
            raise self.bad_config(
                msg("{rows} rows of {name!r} are not of those heads", rows=rows, name=name[:200])
            )
        return np.concatenate([np.arange(first), first + _in_turn(keys, share, width)])

    def transform(self, name: str, dtype: str) -> Transform | None:
        if not name.endswith(".linear_attn.out_proj.weight"):
            return super().transform(name, dtype)
        keys, share, _, value = self._heads()
        columns = _in_turn(keys, share, value)
        return lambda first, rows: rows[:, columns]


def _in_turn(keys: int, share: int, width: int) -> npt.NDArray[np.intp]:
    """The first value head of every key, then the second ones."""
    heads = np.arange(keys * share * width, dtype=np.intp).reshape(keys, share, width)
    return heads.swapaxes(0, 1).ravel()


class Qwen35(_Qwen35):
    architecture = "qwen35"
    experts: ClassVar[TensorNames] = {}
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **ATTENTION,
        **_NORMS,
        **QUERY_KEY_NORMS,
        **GATED_MLP,
        **_STATE,
        **_NEXT_TOKENS,
        f"{_LINEAR}.in_proj_qkv": "blk.{i}.attn_qkv",
        f"{_LINEAR}.in_proj_z": "blk.{i}.attn_gate",
        f"{_LINEAR}.in_proj_a": "blk.{i}.ssm_alpha",
        f"{_LINEAR}.in_proj_b": "blk.{i}.ssm_beta",
    }
    exact: ClassVar[TensorNames] = _STATE_EXACT
    config_defaults: ClassVar[Mapping[str, Any]] = {
        **Qwen3Next.config_defaults,
        "vocab_size": 248320,
        "norm_topk_prob": True,
    }


class Qwen35Moe(Qwen35):
    architecture = "qwen35moe"
    names: ClassVar[TensorNames] = {
        **{name: made for name, made in Qwen35.names.items() if name not in GATED_MLP},
        **{name: made for name, made in Qwen2Moe.names.items() if ".mlp." in name},
    }
    exact: ClassVar[TensorNames] = {
        **_STATE_EXACT,
        "model.layers.{i}.mlp.experts.down_proj": "blk.{i}.ffn_down_exps.weight",
    }
    experts: ClassVar[TensorNames] = {}
