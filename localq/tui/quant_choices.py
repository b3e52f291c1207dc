"""The types the quantize dialog offers, what each is good for, and how large it comes out."""

from __future__ import annotations

from dataclasses import dataclass

from localq.formats.types import QuantType
from localq.tui import strings

__all__ = ["CHOICES", "QuantChoice"]


@dataclass(frozen=True, slots=True)
class QuantChoice:
    """`bits` per weight: exact for plain types; for mixtures the average of a Llama model of 8 B
    parameters, so sizes are estimates."""

    type: QuantType
    bits: float
    about: str
    recommended: bool = False

    def estimated_bytes(self, parameters: int) -> int:
        return round(parameters * self.bits / 8)


CHOICES = (
    QuantChoice(QuantType.Q4_0, 4.5, strings.ABOUT_Q4_0),
    QuantChoice(QuantType.Q4_K_M, 4.9, strings.ABOUT_Q4_K_M, recommended=True),
    QuantChoice(QuantType.Q5_K_M, 5.7, strings.ABOUT_Q5_K_M),
    QuantChoice(QuantType.Q5_1, 6.0, strings.ABOUT_Q5_1),
    QuantChoice(QuantType.Q6_K, 6.6, strings.ABOUT_Q6_K),
    QuantChoice(QuantType.Q8_0, 8.5, strings.ABOUT_Q8_0),
    QuantChoice(QuantType.F16, 16.0, strings.ABOUT_F16),
    QuantChoice(QuantType.BF16, 16.0, strings.ABOUT_BF16),
    QuantChoice(QuantType.F32, 32.0, strings.ABOUT_F32),
)
