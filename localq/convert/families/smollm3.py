"""SmolLM3: Llama with every fourth layer left unrotated.

References: llama.cpp `conversion/llama.py`, `src/models/smollm3.cpp`; transformers
`models/smollm3`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from localq.convert.families.llama import Llama
from localq.errors import UnsupportedError
from localq.messages import msg

__all__ = ["SmolLM3"]

_UNROTATED_EVERY = 4
"""Fixed in llama.cpp."""


class SmolLM3(Llama):
    architecture = "smollm3"
    writes_head_dim = False
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 2000000.0,
    }

    def hyperparameters(self) -> None:
        self._check_rotation()
        super().hyperparameters()

    def _check_rotation(self) -> None:
        usual = [int((i + 1) % _UNROTATED_EVERY != 0) for i in range(self.layers)]
        rotated = self.config.get("no_rope_layers")
        if rotated is None and self.config.get("no_rope_layer_interval") in (None, 4):
            rotated = usual
        if rotated != usual or self.config.get("use_sliding_window"):
            raise UnsupportedError(
                msg(
                    "{root}: llama.cpp's SmolLM3 leaves every fourth layer unrotated and has no"
                    " sliding window; this model differs",
                    root=self.checkpoint.root,
                ),
                hint=msg("take another model"),
            )
