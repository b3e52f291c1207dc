"""Rotary frequencies slowed as Llama 3.1 does it for long texts, which several families do.

Reference: llama.cpp `conversion/llama.py`, LlamaModel.generate_extra_tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import pi

import numpy as np
import numpy.typing as npt

from localq.convert.families.decoder import Decoder
from localq.formats.rows import TensorSource
from localq.messages import msg

__all__ = ["Llama3Rope"]


class Llama3Rope(Decoder):
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
        if min(base, factor, low, context) <= 0 or low > high:
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
        # Llama 4 has no frequencies in between.
        smooth = (turns - np.float32(low)) / np.float32(high - low if high > low else 1)
        between = one / ((one - smooth) / np.float32(factor) + smooth)
        return np.where(
            wavelengths < np.float32(context / high),
            np.float32(1),
            np.where(wavelengths > np.float32(context / low), np.float32(factor), between),
        ).astype(np.float32)
