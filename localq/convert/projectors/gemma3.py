"""Gemma 3: a SigLIP whose patches are pooled and projected."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any, ClassVar

from localq.convert.families.gemma import one_more
from localq.convert.families.mapping import TensorNames
from localq.convert.projectors.projector import ALWAYS_F32, Projector
from localq.convert.projectors.vision_transformer import vision_transformer
from localq.formats.rows import Transform
from localq.formats.types import QuantType, TensorType

__all__ = ["Gemma3Projector"]

_F16: Mapping[QuantType, TensorType] = dict.fromkeys(
    (QuantType.F32, QuantType.F16, QuantType.BF16), TensorType.F16
)
_USUAL_SCALE = 4
_USUAL_TOKENS = 256


class Gemma3Projector(Projector):
    kind = "gemma3"
    parts = ("multi_modal_projector.", "vision_tower.")
    names: ClassVar[TensorNames] = {
        **vision_transformer("vision_tower.vision_model."),
        "multi_modal_projector.mm_input_projection": "mm.input_projection",
        "multi_modal_projector.mm_soft_emb_norm": "mm.soft_emb_norm",
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "hidden_size": 768,
        "image_size": 224,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "patch_size": 16,
        "layer_norm_eps": 1e-6,
    }
    text_defaults: ClassVar[Mapping[str, Any]] = {"hidden_size": 2304}

    def hyperparameters(self) -> None:
        super().hyperparameters()
        self.text("projector_type", self.kind)
        self.epsilon(self.number(self.config, "layer_norm_eps"))
        self.flag("use_gelu", True)
        per_side = isqrt(self.pictures.integer("image_seq_length", _USUAL_TOKENS))
        scale = self.image_size // self.patch_size // per_side
        if scale > 0 and scale != _USUAL_SCALE:
            self.u32("vision.projector.scale_factor", scale)

    def renamed(self, name: str) -> str:
        return name.replace("_weight", ".weight")

    def transform(self, name: str, dtype: str) -> Transform | None:
        """transformers' norms multiply by one more than their weights; SigLIP's do not."""
        return one_more(dtype) if name.endswith("soft_emb_norm.weight") else None

    def type_of(self, gguf_name: str) -> Mapping[QuantType, TensorType]:
        if gguf_name.startswith("mm.input_projection."):
            return _F16
        if gguf_name.endswith("_embd.weight"):
            return ALWAYS_F32
        return super().type_of(gguf_name)
