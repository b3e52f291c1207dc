"""Rotary embeddings: the config's settings in GGUF's terms (llama.cpp `conversion/base.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localq.convert.families.settings import Settings
from localq.messages import msg

__all__ = ["RopeSettings"]

_DEFAULT_THETA = 10000


class RopeSettings(Settings):
    """Settings that know of rotary embeddings, their bases and their scaling."""

    def rope_parameters(self, attention: str = "full_attention") -> dict[str, Any]:
        """The config's rope settings, whichever of transformers' spellings it uses.

        Some models turn faster in their layers of `attention` "sliding_attention"; where the
        config has no settings for those, none come back.
        """
        config = self.config
        rope: dict[str, Any] = {}
        for key in ("rope_parameters", "rope_scaling"):
            if isinstance(config.get(key), dict):
                rope = _set_values(config[key])
                break
        nested = {"full_attention", "sliding_attention"} & rope.keys()
        if nested:
            part = rope.get(attention)
            rope = _set_values(part) if isinstance(part, dict) else {}
        elif attention == "sliding_attention":
            return {"rope_theta": theta} if (theta := config.get("rope_local_base_freq")) else {}
        else:
            for key in ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings"):
                if config.get(key) is not None:
                    rope.setdefault(key, config[key])
        if "type" in rope:
            rope.setdefault("rope_type", rope["type"])
        return rope

    def rope(self) -> None:
        rope = self.rope_parameters()
        match rope.get("rope_type"):
            case "linear" if "factor" in rope:
                self.text("rope.scaling.type", "linear")
                self.f32("rope.scaling.factor", self.number(rope, "factor"))
            case "yarn" if "factor" in rope:
                self._yarn(rope)
            case "longrope" | "su":
                self.text("rope.scaling.type", "longrope")
            case None | "default" | "dynamic" | "llama3" | "mrope" | "proportional":
                pass
            case other:
                self._warn(
                    msg("llama.cpp knows no rope_scaling of type {other!r}", other=str(other)[:50])
                )
        if (sections := rope.get("mrope_section")) is not None:
            self.i32s("rope.dimension_sections", self.sections(sections))
        if "rope_theta" in rope:
            self.f32("rope.freq_base", self.number(rope, "rope_theta"))
        if "rope_theta" in (local := self.rope_parameters("sliding_attention")):
            self.f32("rope.freq_base_swa", self.number(local, "rope_theta"))

    def sections(self, value: object) -> list[int]:
        """How many frequencies turn by time, height, width and more: always four numbers."""
        given = value if isinstance(value, list) else []
        if not given or not all(type(item) is int and 0 <= item < 1 << 16 for item in given):
            raise self.bad_config(msg("mrope_section is {value!r}", value=str(value)[:100]))
        return [*given, 0, 0, 0, 0][:4]

    def unusual_rope(self) -> None:
        """For families whose converter writes no rope settings: those that are not llama.cpp's
        defaults, without which the model would be another."""
        rope = self.rope_parameters()
        plain = rope.get("rope_type") in (None, "default", "dynamic")
        if not plain or rope.get("rope_theta", _DEFAULT_THETA) != _DEFAULT_THETA:
            self.rope()

    def _yarn(self, rope: Mapping[str, Any]) -> None:
        self.text("rope.scaling.type", "yarn")
        self.f32("rope.scaling.factor", self.number(rope, "factor"))
        # Where it is missing, transformers takes the context for the original one too.
        original = rope.get("original_max_position_embeddings")
        if original is None:
            original = self.integer("max_position_embeddings")
        if type(original) is not int or not 0 < original < 1 << 31:
            raise self.bad_config(
                msg(
                    "original_max_position_embeddings is {original!r}", original=str(original)[:100]
                )
            )
        self.u32("rope.scaling.original_context_length", original)
        for key, config_keys in (
            ("yarn_ext_factor", ("extrapolation_factor",)),
            ("yarn_attn_factor", ("attention_factor", "attn_factor")),
            ("yarn_beta_fast", ("beta_fast",)),
            ("yarn_beta_slow", ("beta_slow",)),
        ):
            for config_key in config_keys:
                if rope.get(config_key) is not None:
                    self.f32(f"rope.scaling.{key}", self.number(rope, config_key))
                    break


def _set_values(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Without those that are null, which is how some programs write what they leave open."""
    return {key: value for key, value in settings.items() if value is not None}
