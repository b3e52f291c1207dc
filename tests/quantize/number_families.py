"""Kinds of numbers on which encoders were seen to differ, or might: for comparing them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

__all__ = ["ENDS_LATTICES", "NUMBERS", "UNUSUAL", "WEIGHTS", "Make", "as_bf16"]

Floats = npt.NDArray[np.float32]
Make = Callable[[np.random.Generator, int], npt.NDArray[np.floating]]

_LARGEST = 6e4  # about what float16 holds, in which scales and minima are stored


def as_bf16(numbers: Floats) -> npt.NDArray[np.uint16]:
    """Rounded to bfloat16, half to even; no NaN."""
    bits = numbers.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def _bell(rng: np.random.Generator, n: int) -> Floats:
    return rng.standard_normal(n, np.float32)


def _outliers(rng: np.random.Generator, n: int) -> Floats:
    return _bell(rng, n) * np.where(rng.random(n) < 0.01, np.float32(100), np.float32(1))


def _some_zero(width: int) -> Make:
    def make(rng: np.random.Generator, n: int) -> npt.NDArray[np.floating]:
        blocks = _bell(rng, n).reshape(-1, width)
        blocks[rng.random(len(blocks)) < 0.25] = 0
        return blocks.ravel()

    return make


def _some_constant(width: int) -> Make:
    def make(rng: np.random.Generator, n: int) -> npt.NDArray[np.floating]:
        blocks = _bell(rng, n).reshape(-1, width)
        constant = rng.random(len(blocks)) < 0.3
        blocks[constant] = blocks[constant, :1]
        return blocks.ravel()

    return make


def _sizes(width: int, low: float, high: float) -> Make:
    def make(rng: np.random.Generator, n: int) -> npt.NDArray[np.floating]:
        blocks = rng.standard_normal((n // width, width))
        blocks *= 10.0 ** rng.uniform(low, high, (n // width, 1))
        return np.clip(blocks, -_LARGEST, _LARGEST).ravel()

    return make


def _zeros_of_both_signs(rng: np.random.Generator, n: int) -> npt.NDArray[np.floating]:
    return np.where(rng.random(n) < 0.5, 0.0, -0.0)


def _mostly_zeros(sign: float) -> Make:
    def make(rng: np.random.Generator, n: int) -> npt.NDArray[np.floating]:
        numbers = sign * np.abs(_bell(rng, n))
        return np.where(rng.random(n) < 0.4, _zeros_of_both_signs(rng, n), numbers)

    return make


def _halves(levels: int) -> Make:
    def make(rng: np.random.Generator, n: int) -> npt.NDArray[np.floating]:
        blocks = (rng.integers(0, levels, (n // 32, 32)) + 0.5) * 2 / levels - 1
        blocks[:, 0], blocks[:, 1] = -1, 1
        return (blocks * rng.random((n // 32, 1), np.float32)).ravel()

    return make


def _one_of_sixteen(rng: np.random.Generator, n: int) -> npt.NDArray[np.floating]:
    chosen = np.arange(n) % 16 == rng.integers(0, 16, n // 16).repeat(16)
    return np.where(chosen, _bell(rng, n), 0)


def _opposites(rng: np.random.Generator, n: int) -> npt.NDArray[np.floating]:
    """Each number comes with its negative, so that the largest size is there twice."""
    numbers = np.repeat(_bell(rng, n // 2), 2)
    numbers[1::2] *= -1
    return rng.permuted(numbers.reshape(-1, 16), axis=1).ravel()


NUMBERS: Mapping[str, Make] = {
    "normal": lambda rng, n: 0.02 * _bell(rng, n),
    "bfloat16": lambda rng, n: (as_bf16(_bell(rng, n)).astype(np.uint32) << 16).view(np.float32),
    "float16": lambda rng, n: (0.02 * _bell(rng, n)).astype(np.float16),
    "eighths": lambda rng, n: np.round(8 * _bell(rng, n)) / 8,
    "student 3": lambda rng, n: 0.02 * rng.standard_t(3, n),
    "student 1": lambda rng, n: np.clip(rng.standard_t(1, n), -_LARGEST, _LARGEST),
    "outliers": _outliers,
    "16 zeros": _some_zero(16),
    "32 zeros": _some_zero(32),
    "32 the same": _some_constant(32),
    "256 the same": _some_constant(256),
    "zeros of both signs": _zeros_of_both_signs,
    "zeros and positive": _mostly_zeros(1),
    "zeros and negative": _mostly_zeros(-1),
    "few": lambda rng, n: np.where(rng.random(n) < 0.02, _bell(rng, n), 0),
    "one of sixteen": _one_of_sixteen,
    "opposites": _opposites,
    "small integers": lambda rng, n: rng.integers(-8, 8, n).astype(np.float32),
    "-1, 0, 1": lambda rng, n: rng.integers(-1, 2, n).astype(np.float32),
    "integers": lambda rng, n: rng.integers(-1000, 1000, n).astype(np.float32),
    "almost 1": lambda rng, n: 1 + 1e-6 * _bell(rng, n),
    "almost -3": lambda rng, n: -3 + 1e-5 * _bell(rng, n),
    "positive": lambda rng, n: rng.random(n, np.float32),
    "negative": lambda rng, n: -rng.random(n, np.float32),
    "about 3": lambda rng, n: 3 + _bell(rng, n),
    "sizes by 16": _sizes(16, -6, 5),
    "sizes by 256": _sizes(256, -20, 5),
    "sizes by number": _sizes(1, -12, 4),
    "tiny": lambda rng, n: 1e-14 * _bell(rng, n),
    "halves of 15": _halves(15),
    "halves of 16": _halves(16),
    "halves of 32": _halves(32),
    "halves of 127": _halves(127),
}
"""(generator, how many, a multiple of 256) -> numbers to be taken as float32."""


def _now_and_then(value: float) -> Make:
    def make(rng: np.random.Generator, n: int) -> npt.NDArray[np.floating]:
        return np.where(rng.random(n) < 1e-3, value, _bell(rng, n))

    return make


UNUSUAL: Mapping[str, Make] = {
    "huge": lambda rng, n: 1e6 * _bell(rng, n),
    "large now and then": _now_and_then(1.2e6),
    "huge now and then": _now_and_then(3e38),
    "infinity": _now_and_then(float("inf")),
    "-infinity": _now_and_then(float("-inf")),
    "NaN": _now_and_then(float("nan")),
    "denormal": lambda rng, n: 1e-40 * rng.standard_normal(n),
    "sizes beyond all": lambda rng, n: np.exp(rng.uniform(-95, 85, n)) * np.sign(_bell(rng, n)),
}
"""Numbers that no model has, for which the engine's codecs do the work."""

WEIGHTS: Mapping[str, Make] = {
    "uniform": lambda rng, n: rng.random(n, np.float32),
    "of many sizes": lambda rng, n: np.exp(3 * _bell(rng, n)),
    "all the same": lambda rng, n: np.ones(n),
    "some zero": lambda rng, n: np.where(rng.random(n) < 0.5, 0, rng.random(n)),
    "zero": lambda rng, n: np.zeros(n),
    "beyond all": lambda rng, n: 10.0 ** rng.uniform(-30, 15, n),
    "some negative": lambda rng, n: np.where(rng.random(n) < 0.03, -1, 1) * rng.random(n),
}
"""Rows of an importance matrix."""

ENDS_LATTICES = ("beyond all", "some negative")
"""With these ggml_quantize_chunk aborts in IQ2 and IQ3."""
