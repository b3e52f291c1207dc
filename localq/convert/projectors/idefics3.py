"""Idefics 3 and SmolVLM: a SigLIP whose neighbouring patches are put beside one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from localq.convert.families.mapping import TensorNames
from localq.convert.projectors.projector import ALWAYS_F32, Projector
from localq.convert.projectors.vision_transformer import vision_transformer
from localq.formats.types import QuantType, TensorType
from localq.messages import msg

__all__ = ["Idefics3Projector"]

_USUAL_SCALE = 2


class Idefics3Projector(Projector):
    kind = "idefics3"
    parts = ("model.vision_model.", "model.connector.")
    names: ClassVar[TensorNames] = {
        **vision_transformer("model.vision_model."),
        "model.connector.modality_projection.proj": "mm.model.fc",
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "hidden_size": 1152,
        "image_size": 224,
        "intermediate_size": 3072,
        "layer_norm_eps": 1e-6,
        "num_attention_heads": 16,
        "num_hidden_layers": 12,
        "patch_size": 32,
    }
    text_defaults: ClassVar[Mapping[str, Any]] = {"hidden_size": 4096}

    def hyperparameters(self) -> None:
        super().hyperparameters()
        self.text("projector_type", self.kind)
        self.epsilon(self.number(self.config, "layer_norm_eps"))
        self.u32("vision.projector.scale_factor", self._scale)
        self.flag("use_gelu", True)
        self.u32("vision.preproc_image_size", self._longest_side)

    @property
    def _scale(self) -> int:
        scale = self.checkpoint.config.get("scale_factor", _USUAL_SCALE)
        if type(scale) is not int or not 0 < scale < 1 << 16:
            raise self.bad_config(
                msg("{key} is {value!r}", key="scale_factor", value=str(scale)[:100])
            )
        return scale

    @property
    def _longest_side(self) -> int:
        """Of a picture before it is cut into tiles."""
        size = self.pictures.values.get("size")
        longest = size.get("longest_edge") if isinstance(size, dict) else None
        sane = type(longest) is int and 0 < longest < 1 << 31
        return longest if isinstance(longest, int) and sane else self.image_size

    def type_of(self, gguf_name: str) -> Mapping[QuantType, TensorType]:
        if gguf_name.endswith("_embd.weight"):
            return ALWAYS_F32
        return super().type_of(gguf_name)
