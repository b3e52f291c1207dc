"""Llama 1 to 3.x and what is built the same way: SmolLM2, TinyLlama, Yi, DeepSeek-LLM.

Reference: llama.cpp `conversion/llama.py`; transformers `models/llama`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import pi
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from localq.convert.families.decoder import Decoder, TensorNames
from localq.convert.families.names import ATTENTION, EMBEDDINGS, GATED_MLP, NORMS
from localq.convert.vocabulary.choose import write_vocabulary
from localq.convert.vocabulary.files import TokenizerFiles
from localq.formats.rows import TensorSource
from localq.messages import msg

__all__ = ["Llama"]


class Llama(Decoder):
    architecture = "llama"
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **ATTENTION,
        **NORMS,
        **GATED_MLP,
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
    }

    writes_head_dim: ClassVar[bool] = True
    """Whether the width of a head is written although it follows from the number of heads."""

    def hyperparameters(self) -> None:
        self.config["num_key_value_heads"] = self.kv_heads
        if self.writes_head_dim:
            self.config["head_dim"] = self.head_dim
        super().hyperparameters()
        self.u32("vocab_size", self.integer("vocab_size"))
        self.u32("rope.dimension_count", self.head_dim)

    def row_order(self, name: str, rows: int) -> npt.NDArray[np.intp] | None:
        if name.endswith((".q_proj.weight", ".q_proj.bias")):
            heads = self.heads
        elif name.endswith((".k_proj.weight", ".k_proj.bias")):
            heads = self.kv_heads
        else:
            return None
        return self.rotary_rows(name, rows, heads)

    def extra_tensors(self) -> Iterator[TensorSource]:
        rope = self.rope_parameters()
        if str(rope.get("rope_type")).lower() == "llama3":
            yield self.computed("rope_freqs.weight", self._llama3_factors(rope))

    def _llama3_factors(self, rope: dict[str, object]) -> npt.NDArray[np.float32]:
        """By how much each rotary frequency is slowed (Llama 3.1's long-context scaling)."""
        base = self.number(rope, "rope_theta", 10000.0)
        factor = self.number(rope, "factor", 8.0)
        low = self.number(rope, "low_freq_factor", 1.0)
        high = self.number(rope, "high_freq_factor", 4.0)
        context = self.number(rope, "original_max_position_embeddings", 8192)
        if min(base, factor, low, context) <= 0 or low >= high:
            raise self.bad_config(msg("impossible llama3 rope_scaling"))
        # In float32 as torch computes them, so that the last bit agrees too: it rounds the power
        # alone, and divides by multiplying with the reciprocal. The float64 power does not depend
        # on the processor, as numpy's float32 one does.
        one, turn = np.float32(1), np.float32(2 * pi)
        dim = self.head_dim
        exponents = np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim)
        powers = np.power(np.float64(np.float32(base)), exponents.astype(np.float64))
        wavelengths = one / (one / powers.astype(np.float32)) * turn
        turns = one / wavelengths * np.float32(context)
        smooth = (turns - np.float32(low)) / np.float32(high - low)
        between = one / ((one - smooth) / np.float32(factor) + smooth)
        return np.where(
            wavelengths < np.float32(context / high),
            np.float32(1),
            np.where(wavelengths > np.float32(context / low), np.float32(factor), between),
        ).astype(np.float32)

    def vocabulary(self, files: TokenizerFiles) -> None:
        prefix = (files.tokenizer_config or {}).get("add_prefix_space")
        if isinstance(prefix, bool):
            self.fields.boolean("tokenizer.ggml.add_space_prefix", prefix)
        self._warn(write_vocabulary(files, self.fields))
        match self.config.get("vocab_size"):
            case 32016:  # CodeLlama: what ends an infilled middle
                self.fields.u32("tokenizer.ggml.eot_token_id", 32010)
            case 49152:  # SmolLM and Granite small: their BOS must not be added
                self.fields.boolean("tokenizer.ggml.add_bos_token", False)
