"""Gemma 4: a vision transformer with norms before and after, its patches pooled and projected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import isqrt
from typing import Any, ClassVar

import numpy as np

from localq.convert.families.mapping import TensorNames
from localq.convert.projectors.projector import ALWAYS_F32, Projector
from localq.convert.source_tensor import SourceTensor
from localq.formats.rows import TensorSource
from localq.formats.types import QuantType, TensorType
from localq.messages import msg

__all__ = ["Gemma4Projector"]

_ROOT = "model.vision_tower."
_BLOCK = f"{_ROOT}encoder.layers.{{i}}."
_IMAGE_SIZE = 224  # which nothing goes by: pictures keep theirs
_EPSILON = 1e-6
_BOUNDS = ("input_max", "input_min", "output_max", "output_min")
_MATRICES: Mapping[str, str] = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_out",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


class Gemma4Projector(Projector):
    kind = "gemma4v"
    parts = (_ROOT, "model.embed_vision.")
    names: ClassVar[TensorNames] = {
        f"{_ROOT}patch_embedder.input_proj": "v.patch_embd",
        f"{_ROOT}patch_embedder.position_embedding_table": "v.position_embd",
        **{f"{_BLOCK}{name}": f"v.blk.{{i}}.{made}" for name, made in _MATRICES.items()},
        f"{_BLOCK}self_attn.q_norm": "v.blk.{i}.attn_q_norm",
        f"{_BLOCK}self_attn.k_norm": "v.blk.{i}.attn_k_norm",
        f"{_BLOCK}input_layernorm": "v.blk.{i}.ln1",
        f"{_BLOCK}post_attention_layernorm": "v.blk.{i}.attn_post_norm",
        f"{_BLOCK}pre_feedforward_layernorm": "v.blk.{i}.ln2",
        f"{_BLOCK}post_feedforward_layernorm": "v.blk.{i}.ffn_post_norm",
        f"{_BLOCK}layer_scalar": "v.blk.{i}.out_scale",
        "model.embed_vision.embedding_projection": "mm.input_projection",
    }
    exact: ClassVar[TensorNames] = {
        f"{_ROOT}std_bias": "v.std_bias",
        f"{_ROOT}std_scale": "v.std_scale",
        **{
            f"{_BLOCK}{name}.{bound}": f"v.blk.{{i}}.{made}.{bound}"
            for name, made in _MATRICES.items()
            for bound in _BOUNDS
        },
    }
    optional: ClassVar[frozenset[str]] = frozenset({"v.blk.{i}.out_scale"})
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "head_dim": 64,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "num_hidden_layers": 16,
        "patch_size": 16,
    }
    text_defaults: ClassVar[Mapping[str, Any]] = {"hidden_size": 2304}

    @property
    def image_size(self) -> int:
        return _IMAGE_SIZE

    def hyperparameters(self) -> None:
        super().hyperparameters()
        self.text("vision.projector_type", self.kind)
        self.epsilon(self.number(self.config, "layer_norm_eps", _EPSILON))
        if isinstance(self.checkpoint.config.get("audio_config"), dict):
            self._warn(msg("the projector sees; the part that hears is left out"))

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        heads = self.heads * self.integer("head_dim")
        by_heads = {f"v.blk.{{i}}.attn_{part}.weight": (heads, self.width) for part in "qkv"}
        out = {"v.blk.{i}.attn_out.weight": (self.width, heads)}
        return {**super().shapes(), **by_heads, **out}

    def renamed(self, name: str) -> str:
        name = name.replace(".linear.weight", ".weight")
        alone = name.endswith(("layer_scalar", "position_embedding_table"))
        return f"{name}.weight" if alone else name

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        if not source.info.shape:  # a bound, which is a single number
            source = replace(source, info=replace(source.info, shape=(1,)))
        if name == f"{_ROOT}patch_embedder.input_proj.weight":
            yield self._patches(name, source)
        else:
            yield self.tensor(name, source)

    def _patches(self, name: str, source: SourceTensor) -> TensorSource:
        """What is a matrix here is a convolution in llama.cpp: colours before rows and columns."""
        shape = source.info.shape
        side = isqrt(shape[-1] // 3)
        if len(shape) != 2 or shape[1] != 3 * side * side:
            raise self._bad_shape(name, source)
        whole = self.piece(name, source)
        numbers = np.arange(shape[0] * shape[1], dtype=np.intp).reshape(-1, side, side, 3)
        order = numbers.transpose(0, 3, 1, 2).ravel()
        piece = replace(whole, file_rows=order.size, file_columns=1, order=order)
        return self.source_of("v.patch_embd.weight", (shape[0], 3, side, side), [piece])

    def type_of(self, gguf_name: str) -> Mapping[QuantType, TensorType]:
        if gguf_name == "v.position_embd.weight":
            return ALWAYS_F32
        return super().type_of(gguf_name)
