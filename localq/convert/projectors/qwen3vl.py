"""Qwen3-VL and Qwen3.5: earlier layers' views reach the language model's first layers too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from localq.convert.families.mapping import TensorNames
from localq.convert.projectors.projector import Projector
from localq.convert.source_tensor import SourceTensor
from localq.formats.rows import TensorSource
from localq.messages import msg

__all__ = ["Qwen3VlProjector"]

_BLOCK = "visual.blocks.{i}."
_DEEP = "visual.deepstack_merger_list.{i}."
_EPSILON = 1e-6


class Qwen3VlProjector(Projector):
    kind = "qwen3vl_merger"
    parts = ("visual.",)
    names: ClassVar[TensorNames] = {
        "visual.patch_embed.proj": "v.patch_embd",
        "visual.pos_embed": "v.position_embd",
        f"{_BLOCK}norm1": "v.blk.{i}.ln1",
        f"{_BLOCK}norm2": "v.blk.{i}.ln2",
        f"{_BLOCK}attn.qkv": "v.blk.{i}.attn_qkv",
        f"{_BLOCK}attn.proj": "v.blk.{i}.attn_out",
        f"{_BLOCK}mlp.linear_fc1": "v.blk.{i}.ffn_up",
        f"{_BLOCK}mlp.linear_fc2": "v.blk.{i}.ffn_down",
        "visual.merger.norm": "v.post_ln",
        "visual.merger.linear_fc1": "mm.0",
        "visual.merger.linear_fc2": "mm.2",
        f"{_DEEP}norm": "v.deepstack.{i}.norm",
        f"{_DEEP}linear_fc1": "v.deepstack.{i}.fc1",
        f"{_DEEP}linear_fc2": "v.deepstack.{i}.fc2",
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "depth": 27,
        "deepstack_visual_indexes": [],
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_heads": 16,
        "num_position_embeddings": 2304,
        "patch_size": 16,
        "spatial_merge_size": 2,
    }
    text_defaults: ClassVar[Mapping[str, Any]] = {"hidden_size": 4096}

    @property
    def image_size(self) -> int:
        if self.config.get("image_size") is not None:
            return self.integer("image_size")
        return int(self.integer("num_position_embeddings") ** 0.5 * self.patch_size)

    @property
    def deep(self) -> list[int]:
        """The layers whose views reach the language model by themselves."""
        layers = self.config.get("deepstack_visual_indexes")
        if not isinstance(layers, list) or not all(
            type(layer) is int and 0 <= layer < self.layers for layer in layers
        ):
            raise self.bad_config(
                msg(
                    "{key} is {value!r}",
                    key="deepstack_visual_indexes",
                    value=str(layers)[:100],
                )
            )
        return layers

    def hyperparameters(self) -> None:
        super().hyperparameters()
        self.text("projector_type", self.kind)
        self.flag("use_gelu", True)
        self.u32("vision.spatial_merge_size", self.integer("spatial_merge_size"))
        text = self.checkpoint.config.get("text_config")
        inner = text if isinstance(text, dict) else {}
        self.epsilon(self.number(inner, "rms_norm_eps", _EPSILON))
        self.flags("vision.is_deepstack_layers", [i in self.deep for i in range(self.layers)])

    def lacks(self, gguf_name: str, layer: int) -> bool:
        return gguf_name.startswith("v.deepstack.") and layer not in self.deep

    def renamed(self, name: str) -> str:
        """A view is known by its layer, not by its place among them."""
        start = "visual.deepstack_merger_list."
        number, _, rest = name.removeprefix(start).partition(".")
        if not name.startswith(start) or not number.isdecimal() or len(number) > 6:
            return name
        if int(number) >= len(self.deep):
            raise self.bad_config(
                msg("{key} lacks number {number}", key="deepstack_visual_indexes", number=number)
            )
        return f"{start}{self.deep[int(number)]}.{rest}"

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        if name == "visual.patch_embed.proj.weight":
            yield from self.of_each_picture(name, source)
        else:
            yield self.tensor(name, source)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        width = self.width
        return {**super().shapes(), "v.blk.{i}.attn_qkv.weight": (3 * width, width)}
