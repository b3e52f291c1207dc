"""A model's config.json read, and its GGUF fields written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from localq.convert.checkpoint import Checkpoint
from localq.convert.fields import FieldBuilder
from localq.convert.text_part import text_part
from localq.errors import BadFileError
from localq.messages import msg

__all__ = ["EXPERT_KEYS", "Settings"]

EXPERT_KEYS = ("num_local_experts", "num_experts", "n_routed_experts")
_MAX_F32 = float(np.finfo(np.float32).max)
_MAX_LAYERS = 4096
_MAX_EXPERTS = 1 << 16


class Settings:
    """The config, every value checked as it is asked for, and the fields made of it so far."""

    architecture: str
    config_defaults: ClassVar[Mapping[str, Any]] = {}
    """What transformers' config class assumes where config.json is silent."""
    layer_keys: ClassVar[tuple[str, ...]] = (
        "n_layers",
        "num_hidden_layers",
        "n_layer",
        "num_layers",
    )

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.config: dict[str, Any] = {**self.config_defaults, **self.own_part(checkpoint.config)}
        self.fields = FieldBuilder()
        self.warnings: list[str] = []
        self.layers = self.integer(*self.layer_keys, most=_MAX_LAYERS)

    def own_part(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """What of config.json is about the part that is converted: the one that reads text."""
        return {**config, **text_part(config)}

    @property
    def head_dim(self) -> int:
        if self.config.get("head_dim") is not None:
            return self.integer("head_dim")
        hidden = self.integer("hidden_size")
        if hidden % self.heads:
            raise self.bad_config(
                msg(
                    "hidden_size {hidden} does not divide by {heads} heads",
                    hidden=hidden,
                    heads=self.heads,
                )
            )
        return hidden // self.heads

    @property
    def heads(self) -> int:
        return self.integer("num_attention_heads")

    @property
    def kv_heads(self) -> int:
        return self.integer("num_key_value_heads", "num_attention_heads")

    def integer(self, *keys: str, most: int = 1 << 31) -> int:
        """The first of the config's keys that is set, which must be a sane positive integer."""
        for key in keys:
            value = self.config.get(key)
            if value is not None:
                if type(value) is not int or not 0 < value <= most:
                    raise self.bad_config(
                        msg("{key} is {value!r}", key=key, value=str(value)[:100])
                    )
                return value
        raise self.bad_config(msg("has no {keys}", keys=" or ".join(keys)))

    def count(self, key: str, most: int = 1 << 31) -> int:
        """A number that may be 0, or not set, which is 0 too."""
        value = self.config.get(key) or 0
        if type(value) is not int or not 0 <= value <= most:
            raise self.bad_config(msg("{key} is {value!r}", key=key, value=str(value)[:100]))
        return value

    def number(self, mapping: Mapping[str, Any], key: str, default: float | None = None) -> float:
        value = mapping.get(key, default)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not -_MAX_F32 <= value <= _MAX_F32
        ):
            raise self.bad_config(msg("{key} is {value!r}", key=key, value=str(value)[:100]))
        return float(value)

    def bad_config(self, problem: str, *, hint: str | None = None) -> BadFileError:
        return BadFileError(self.checkpoint.root / "config.json", problem, hint=hint)

    def u32(self, key: str, value: int) -> None:
        if not 0 <= value < 1 << 32:
            raise self.bad_config(msg("gives {value} for {key}", value=value, key=key))
        self.fields.u32(f"{self.architecture}.{key}", value)

    def f32(self, key: str, value: float) -> None:
        self.fields.f32(f"{self.architecture}.{key}", value)

    def flag(self, key: str, value: bool) -> None:
        self.fields.boolean(f"{self.architecture}.{key}", value)

    def i32s(self, key: str, values: Sequence[int]) -> None:
        self.fields.i32s(f"{self.architecture}.{key}", values)

    def flags(self, key: str, values: Sequence[bool]) -> None:
        self.fields.booleans(f"{self.architecture}.{key}", values)

    def text(self, key: str, value: str) -> None:
        self.fields.string(f"{self.architecture}.{key}", value)

    def _u32_from(self, key: str, *config_keys: str) -> None:
        if any(self.config.get(k) is not None for k in config_keys):
            self.u32(key, self.integer(*config_keys))

    def _count_from(self, key: str, *config_keys: str) -> None:
        """As `_u32_from`, of a number that may be 0."""
        for config_key in config_keys:
            if self.config.get(config_key) is not None:
                self.u32(key, self.count(config_key))
                return

    def _f32_from(self, key: str, *config_keys: str) -> None:
        for config_key in config_keys:
            if self.config.get(config_key) is not None:
                self.f32(key, self.number(self.config, config_key))
                return

    @property
    def expert_count(self) -> int:
        return self.integer(*EXPERT_KEYS, most=_MAX_EXPERTS)

    def _warn(self, warning: str | None) -> None:
        if warning:
            self.warnings.append(warning)
