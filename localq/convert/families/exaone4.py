"""EXAONE 4: norms behind attention and feed-forward instead of before.

References: llama.cpp `conversion/exaone.py`; transformers `models/exaone4`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from localq.convert.families.decoder import TensorNames
from localq.convert.families.llama3_rope import Llama3Rope
from localq.convert.families.names import ATTENTION, EMBEDDINGS, GATED_MLP
from localq.convert.families.qwen import QUERY_KEY_NORMS
from localq.convert.vocabulary.byte_level import write_byte_level
from localq.convert.vocabulary.files import TokenizerFiles
from localq.errors import UnsupportedError
from localq.messages import msg

__all__ = ["Exaone4"]

_LAYERS_WITH_WINDOW = 64
"""By which llama.cpp knows the model some of whose layers see only a window."""


class Exaone4(Llama3Rope):
    architecture = "exaone4"
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **ATTENTION,
        **QUERY_KEY_NORMS,
        **GATED_MLP,
        "model.layers.{i}.post_attention_layernorm": "blk.{i}.post_attention_norm",
        "model.layers.{i}.post_feedforward_layernorm": "blk.{i}.post_ffw_norm",
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 102400,
        "num_key_value_heads": 32,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
    }

    def hyperparameters(self) -> None:
        super().hyperparameters()
        self.u32("vocab_size", self.integer("vocab_size"))
        if self.config.get("sliding_window") is None:
            return
        if self.layers != _LAYERS_WITH_WINDOW:
            raise UnsupportedError(
                msg(
                    "{root}: llama.cpp knows an EXAONE 4 with a sliding window by its {known}"
                    " layers; this one has {layers}",
                    root=self.checkpoint.root,
                    known=_LAYERS_WITH_WINDOW,
                    layers=self.layers,
                ),
                hint=msg("take another model"),
            )
        self.u32("attention.sliding_window", self.integer("sliding_window"))
        self.flags("attention.sliding_window_pattern", self._windows())

    def _windows(self) -> list[bool]:
        """For each layer whether it sees only a window."""
        kinds, pattern = (self.config.get(k) for k in ("layer_types", "sliding_window_pattern"))
        if isinstance(kinds, list) and len(kinds) == self.layers:
            return [kind == "sliding_attention" for kind in kinds]
        if isinstance(pattern, str) and pattern:
            return [pattern[layer % len(pattern)] == "L" for layer in range(self.layers)]
        every = self.integer("sliding_window_pattern")
        return [(layer + 1) % every != 0 for layer in range(self.layers)]

    def vocabulary(self, files: TokenizerFiles) -> None:
        self._warn(write_byte_level(files, self.fields))
