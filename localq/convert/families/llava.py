"""What reads text in LLaVA, Pixtral and SmolVLM: a Llama or a Mistral.

References: llama.cpp `conversion/llama.py`; transformers `models/llava`, `models/idefics3`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from localq.convert.families.llama import Llama
from localq.convert.families.mistral import Mistral
from localq.convert.text_part import text_part

__all__ = ["Llava", "SmolVlm"]


class Llava(Llama):
    """The config says only what is not Llama's, or Mistral's, own."""

    def own_part(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        of_mistral = text_part(config).get("model_type") == "mistral"
        defaults = _MISTRAL if of_mistral else {}
        return {**defaults, **super().own_part(config)}


class SmolVlm(Llama):
    config_defaults: ClassVar[Mapping[str, Any]] = {
        **Llama.config_defaults,
        "num_attention_heads": 32,
    }

    def renamed(self, name: str) -> str:
        return name.replace("text_model.", "", 1)


_MISTRAL: Mapping[str, Any] = {**Mistral.config_defaults, "head_dim": None}
