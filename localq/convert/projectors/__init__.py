"""Projectors: the part of a model that turns pictures into what its language model reads.

llama.cpp keeps it in a file of its own (`mmproj`), which is run together with the model's. One
module for each kind, imported only when a checkpoint of it is converted.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from localq.convert.llama_cpp_knows import knows_architecture
from localq.convert.text_part import named_architecture
from localq.errors import UnsupportedError
from localq.messages import msg

if TYPE_CHECKING:
    from localq.convert.checkpoint import Checkpoint
    from localq.convert.projectors.projector import Projector

__all__ = ["PROJECTORS", "projector_class", "sees_pictures"]

PROJECTORS: Mapping[str, str] = {
    # architecture in config.json -> "module:Class" in this package
    "Gemma3ForConditionalGeneration": "gemma3:Gemma3Projector",
    "Gemma4ForConditionalGeneration": "gemma4:Gemma4Projector",
    "Idefics3ForConditionalGeneration": "idefics3:Idefics3Projector",
    "SmolVLMForConditionalGeneration": "idefics3:Idefics3Projector",
    "InternVisionModel": "internvl:InternVlProjector",
    "LlavaForConditionalGeneration": "pixtral:PixtralProjector",
    "Mistral3ForConditionalGeneration": "pixtral:PixtralProjector",
    "Qwen2VLModel": "qwen2vl:Qwen2VlProjector",
    "Qwen2VLForConditionalGeneration": "qwen2vl:Qwen2VlProjector",
    "Qwen2_5_VLForConditionalGeneration": "qwen2vl:Qwen25VlProjector",
    "Qwen3VLForConditionalGeneration": "qwen3vl:Qwen3VlProjector",
    "Qwen3VLMoeForConditionalGeneration": "qwen3vl:Qwen3VlProjector",
    "Qwen3_5ForConditionalGeneration": "qwen3vl:Qwen3VlProjector",
    "Qwen3_5MoeForConditionalGeneration": "qwen3vl:Qwen3VlProjector",
}


def sees_pictures(config: Mapping[str, Any]) -> bool:
    """Whether config.json is of a model whose projector localq can convert."""
    return _architecture(config) in PROJECTORS and isinstance(config.get("vision_config"), dict)


def projector_class(checkpoint: Checkpoint) -> type[Projector]:
    """The class that converts the checkpoint's projector; UnsupportedError where none does."""
    name = _architecture(checkpoint.config)
    if name in PROJECTORS and isinstance(checkpoint.config.get("vision_config"), dict):
        module, _, of = PROJECTORS[name].partition(":")
        found: type[Projector] = getattr(import_module(f"{__name__}.{module}"), of)
        return found
    if "vision_config" not in checkpoint.config:
        raise UnsupportedError(
            msg("{name} sees no pictures: there is no projector in it", name=checkpoint.name),
            hint=msg("convert it without --mmproj"),
        )
    raise UnsupportedError(
        msg(
            "localq cannot convert the projector of the architecture {architecture!r} yet",
            architecture=name[:100],
        ),
        hint=(
            msg("llama.cpp's own converter may: convert_hf_to_gguf.py --mmproj")
            if knows_architecture(name)
            else None
        ),
    )


def _architecture(config: Mapping[str, Any]) -> str:
    """The model's; where the part that sees names one of its own, llama.cpp goes by that."""
    vision = config.get("vision_config")
    part = vision if isinstance(vision, Mapping) else {}
    return named_architecture(part) or named_architecture(config) or ""
