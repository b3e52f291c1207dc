"""Qwen2-VL and Qwen2.5-VL: patches of two pictures in a row, merged two by two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from localq.convert.families.mapping import TensorNames
from localq.convert.projectors.projector import Projector
from localq.convert.source_tensor import SourceTensor
from localq.formats.rows import TensorSource
from localq.messages import msg

__all__ = ["Qwen2VlProjector", "Qwen25VlProjector"]

_BLOCK = "visual.blocks.{i}."
_EPSILON = 1e-6


class Qwen2VlProjector(Projector):
    kind = "qwen2vl_merger"
    parts = ("visual.",)
    names: ClassVar[TensorNames] = {
        "visual.patch_embed.proj": "v.patch_embd",
        f"{_BLOCK}norm1": "v.blk.{i}.ln1",
        f"{_BLOCK}norm2": "v.blk.{i}.ln2",
        f"{_BLOCK}attn.q": "v.blk.{i}.attn_q",
        f"{_BLOCK}attn.k": "v.blk.{i}.attn_k",
        f"{_BLOCK}attn.v": "v.blk.{i}.attn_v",
        f"{_BLOCK}attn.proj": "v.blk.{i}.attn_out",
        f"{_BLOCK}mlp.fc1": "v.blk.{i}.ffn_up",
        f"{_BLOCK}mlp.fc2": "v.blk.{i}.ffn_down",
        "visual.merger.ln_q": "v.post_ln",
        "visual.merger.mlp.0": "mm.0",
        "visual.merger.mlp.2": "mm.2",
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "depth": 32,
        "embed_dim": 1280,
        "hidden_size": 3584,
        "image_size": 560,
        "num_heads": 16,
        "patch_size": 14,
    }
    text_defaults: ClassVar[Mapping[str, Any]] = {"hidden_size": 8192}

    @property
    def width(self) -> int:
        return self.integer("embed_dim")

    @property
    def feed_forward(self) -> int:
        """llama.cpp writes the language model's width here, and minds it not."""
        return self.integer("hidden_size")

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: shape for name, shape in super().shapes().items() if ".ffn_" not in name}

    def hyperparameters(self) -> None:
        super().hyperparameters()
        self.text("projector_type", self.kind)
        self.windows()
        self.epsilon(self.number(self.checkpoint.config, "rms_norm_eps", _EPSILON))

    def windows(self) -> None:
        """Which layers see all of the picture, where not all do."""

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        if name == "visual.patch_embed.proj.weight":
            yield from self.of_each_picture(name, source)
        elif ".attn.qkv." in name:
            parts = [self.gguf_name(name.replace("qkv", part), source) for part in "qkv"]
            yield from self.thirds(name, source, parts)
        else:
            yield self.tensor(name, source)


class Qwen25VlProjector(Qwen2VlProjector):
    """A gate in the feed-forward network; most layers see a window of the picture."""

    kind = "qwen2.5vl_merger"
    names: ClassVar[TensorNames] = {
        **{name: made for name, made in Qwen2VlProjector.names.items() if ".mlp.fc" not in name},
        f"{_BLOCK}mlp.gate_proj": "v.blk.{i}.ffn_gate",
        f"{_BLOCK}mlp.up_proj": "v.blk.{i}.ffn_up",
        f"{_BLOCK}mlp.down_proj": "v.blk.{i}.ffn_down",
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        **Qwen2VlProjector.config_defaults,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "intermediate_size": 3420,
    }

    @property
    def width(self) -> int:
        return self.integer("hidden_size")

    @property
    def feed_forward(self) -> int:
        return self.integer("intermediate_size")

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return Projector.shapes(self)

    def windows(self) -> None:
        self.flag("use_silu", True)
        whole = self.config.get("fullatt_block_indexes")
        if not isinstance(whole, list) or not whole or type(whole[0]) is not int:
            raise self._not_regular(whole)
        step = whole[0] + 1
        if whole != list(range(step - 1, step * len(whole), step)):
            raise self._not_regular(whole)
        self.u32("vision.n_wa_pattern", step)

    def _not_regular(self, value: object) -> Exception:
        key = "fullatt_block_indexes"
        return self.bad_config(msg("{key} is {value!r}", key=key, value=str(value)[:100]))
