"""Numbers on which encoders differ that do not compute exactly as one another.

A codec whose compiler fused a multiplication with an addition, or whose search was changed, gives
other bytes for a few blocks in a hundred of ordinary numbers. These are chosen so that it shows:
sub-blocks that hardly vary, numbers of very different sizes, and halves between two levels.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

__all__ = ["COLUMNS", "numbers", "weights"]

COLUMNS = 512
_ROWS = 4  # of each kind

Floats = npt.NDArray[np.float32]


def _uniform(count: int, seed: int) -> npt.NDArray[np.float64]:
    """The same in [0, 1) everywhere and always: splitmix64 (Steele, Lea, Flood 2014)."""
    index = np.arange(1, count + 1, dtype=np.uint64) + np.uint64(seed << 32)
    z = index * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) / 2.0**53


def _bell(count: int, seed: int) -> npt.NDArray[np.float64]:
    """About normal, of deviation 1."""
    bell: npt.NDArray[np.float64] = _uniform(4 * count, seed).reshape(4, -1).sum(axis=0)
    bell -= 2
    bell *= 1.7320508075688772  # the square root of 3: a sum of four varies by 1/3
    return bell


@cache
def numbers() -> Floats:
    """Rows of COLUMNS numbers, as float32."""
    count = _ROWS * COLUMNS
    bell = [_bell(count, seed) for seed in range(6)]
    sizes = np.repeat(_uniform(count // 16, 11), 16)
    kinds = [
        0.02 * bell[0],
        1 + 1e-6 * bell[1],
        -3 + 1e-5 * bell[2],
        bell[3] * 10.0 ** (16 * _uniform(count, 10) - 12),
        bell[4] * 10.0 ** (6 * sizes - 5),
        np.abs(bell[5]) * 0.1,
        np.where(_uniform(count, 12) < 0.05, bell[2], 0.0),
        *(_halves(levels, count) for levels in (16, 15, 31, 32, 254)),
    ]
    flat = np.concatenate(kinds).astype(np.float32)
    flat[: count // 2] = (flat[: count // 2].view(np.uint32) & 0xFFFF0000).view(np.float32)
    flat.setflags(write=False)
    return flat


def _halves(levels: int, count: int) -> npt.NDArray[np.float64]:
    """Blocks of 32 from -a to a in `levels` steps, the other numbers halfway between two."""
    steps = np.floor(_uniform(count, levels) * levels) + 0.5
    blocks = (steps * 2 / levels - 1).reshape(-1, 32)
    blocks[:, 0], blocks[:, 1] = -1, 1
    sizes = 0.01 + _uniform(len(blocks), levels + 1000)[:, None]
    # Round the size first, as the numbers of a file would be.
    return (blocks * sizes.astype(np.float32)).ravel()


@cache
def weights() -> Floats:
    """An importance matrix's row: sizes over four powers of ten, some zero."""
    row = 10.0 ** (4 * _uniform(COLUMNS, 20) - 2)
    row[_uniform(COLUMNS, 21) < 0.03] = 0
    weights: Floats = row.astype(np.float32)
    weights.setflags(write=False)
    return weights
