"""Which type of a model to take on a machine, and why.

The rule, of the types that need no importance matrix:

1. Types are ranked by how little they lose, K-quants above the older types of the same bits. A
   type is not taken where a better one is no larger, nor one above Q8_0, from which nobody can
   tell it, unless there is nothing else.
2. On a GPU with memory of its own: the best that fits there whole.
3. In the machine's memory, where the processor does some of the work or a GPU shares it: every
   token reads all the weights it needs, so that half the bytes are twice the speed, and other
   programs want to live, too. The best that reads at most 3 GB for a token (about ten tokens a
   second on a plain desktop), or 6 GB where a GPU does all the work, and takes at most three
   quarters of what is free; up to Q4_K_M, the best that fits.
4. The better of the two.

So more memory, of either kind, never leads to a smaller type, and what does not fit is never
recommended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from localq.display import byte_size
from localq.formats.types import QuantType
from localq.messages import msg
from localq.planning.comfort import parameters_in

__all__ = ["TypeCandidate", "Recommendation", "Where", "recommend", "smaller_class"]

Q = QuantType

_BY_QUALITY = (
    Q.IQ1_S,
    Q.IQ1_M,
    Q.IQ2_XXS,
    Q.IQ2_XS,
    Q.IQ2_S,
    Q.Q2_K_S,
    Q.IQ2_M,
    Q.Q2_K,
    Q.IQ3_XXS,
    Q.IQ3_XS,
    Q.Q3_K_S,
    Q.IQ3_S,
    Q.IQ3_M,
    Q.Q3_K_M,
    Q.Q3_K_L,
    Q.Q4_0,
    Q.IQ4_XS,
    Q.IQ4_NL,
    Q.Q4_1,
    Q.Q4_K_S,
    Q.MXFP4_MOE,
    Q.Q4_K_M,
    Q.Q5_0,
    Q.Q5_1,
    Q.Q5_K_S,
    Q.Q5_K_M,
    Q.Q6_K,
    Q.Q8_0,
)
_LOSSLESS = (Q.F16, Q.BF16, Q.F32)
_RANKS = {type_: rank for rank, type_ in enumerate((*_BY_QUALITY, *_LOSSLESS))}
_BALANCED = _RANKS[Q.Q4_K_M]
_POOR = _RANKS[Q.Q3_K_M]
"""From here down people notice."""
_READ_PER_TOKEN = 3_000_000_000
_READ_BY_SHARING_GPU = 6_000_000_000
_READ_PER_SECOND = 30e9
"""What a plain desktop's processor reads of its memory."""
_SLOW_SECONDS = 0.3
_SIZES = (0.27, 0.5, 1, 1.5, 2, 3, 4, 7, 8, 12, 14, 24, 27, 32, 49, 70, 120, 235, 405)
"""Billions of parameters that models are made with."""


class Where(StrEnum):
    """Where a model runs."""

    GPU = "gpu"
    """All layers on devices."""
    SPLIT = "gpu+cpu"
    """Some layers on devices, the others on the processor."""
    CPU = "cpu"
    NOWHERE = "no"


@dataclass(frozen=True, slots=True)
class TypeCandidate:
    """A type one could take; `read_bytes` are the weights that are read for each token,
    `slow_bytes` those of them that the processor reads."""

    type: QuantType | None
    size_bytes: int
    where: Where
    read_bytes: int
    needs_imatrix: bool = False
    shared: bool = False
    """Whether the GPU uses the machine's own memory."""
    tight: bool = False
    """Whether its weights are more than three quarters of the memory that is free."""
    slow_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Recommendation:
    """`index` is the candidate's; None: nothing runs. `reason` goes after the type's name."""

    index: int | None
    reason: str


def recommend(candidates: Sequence[TypeCandidate]) -> Recommendation:
    """Choose by the rule above."""
    chosen = _choose(candidates)
    if chosen is None:
        what = msg("it does not fit") if len(candidates) == 1 else msg("no usual type fits")
        return Recommendation(None, f"{what} into this machine's memory")
    index, on_gpu = chosen
    return Recommendation(index, _reason(candidates, index, on_gpu))


def smaller_class(room_bytes: int) -> float | None:
    """The billions of parameters of the largest usual model whose weights take that room as
    Q4_K_M."""
    most = parameters_in(room_bytes) / 1e9
    return max((size for size in _SIZES if size <= most), default=None)


def _choose(candidates: Sequence[TypeCandidate]) -> tuple[int, int | None] | None:
    """The candidate's index, and that of the best on the GPU."""
    worthwhile = _worthwhile(candidates)
    running = [index for index in worthwhile if candidates[index].where is not Where.NOWHERE]
    on_gpu = [index for index in running if _is_fast(candidates[index])]
    quick = [index for index in running if _is_quick(candidates[index])]
    picked = on_gpu[-1:] + quick[-1:] or running[:1]  # slow is better than nothing
    if not picked:
        return None
    return max(picked, key=worthwhile.index), on_gpu[-1] if on_gpu else None


def _is_fast(candidate: TypeCandidate) -> bool:
    return candidate.where is Where.GPU and not candidate.shared


def _is_quick(candidate: TypeCandidate) -> bool:
    if _rank(candidate) <= _BALANCED:
        return True
    by_gpu = candidate.where is Where.GPU
    most = _READ_BY_SHARING_GPU if by_gpu else _READ_PER_TOKEN
    return candidate.read_bytes <= most and not candidate.tight


def _worthwhile(candidates: Sequence[TypeCandidate]) -> list[int]:
    """Those that rule 1 leaves, the worst first: each is larger than those before it."""
    free = [index for index, c in enumerate(candidates) if not c.needs_imatrix]
    known = [index for index in free if candidates[index].type in _RANKS]
    usual = [index for index in known if candidates[index].type not in _LOSSLESS]
    left: list[int] = []
    for index in sorted(
        usual or known or free,
        key=lambda index: (_rank(candidates[index]), -candidates[index].size_bytes),
        reverse=True,
    ):
        if not left or candidates[index].size_bytes < candidates[left[-1]].size_bytes:
            left.append(index)
    return left[::-1]


def _rank(candidate: TypeCandidate) -> int:
    """-1 for a type of which nothing is known."""
    return -1 if candidate.type is None else _RANKS.get(candidate.type, -1)


def _reason(candidates: Sequence[TypeCandidate], index: int, on_gpu: int | None) -> str:
    chosen = candidates[index]
    worthwhile = _worthwhile(candidates)
    better = [candidates[i] for i in worthwhile[worthwhile.index(index) + 1 :]]
    read = msg("{read_bytes} to read for every token", read_bytes=byte_size(chosen.read_bytes))
    if index == on_gpu:
        reason = (
            msg("the best type that fits the GPU whole") if better else msg("fits the GPU whole")
        )
    elif not better:
        reason = msg("fits, and is quick: {read}", read=read)
    elif better[0].where is Where.NOWHERE:
        together = msg("GPU and memory together") if chosen.where is Where.SPLIT else "memory"
        reason = msg("the best type that fits into {together}", together=together)
    elif better[0].tight and better[0].read_bytes <= _READ_PER_TOKEN:
        reason = msg("the best that leaves memory for other programs")
    elif _is_quick(chosen):
        reason = msg("the best balance: better types fit, but are slower ({read})", read=read)
    else:
        reason = msg("fits, but is slow: {read}", read=read)
    if on_gpu is not None and index != on_gpu and (other := candidates[on_gpu].type):
        reason += f"; {other.name} fits the GPU whole, and is faster"
    if (seconds := chosen.slow_bytes / _READ_PER_SECOND) >= _SLOW_SECONDS:
        reason += f"; slow: about {seconds:.1f} s for each token on a plain desktop"
    if 0 <= _rank(chosen) < _POOR:
        reason += "; so few bits are felt: a smaller model as Q4_K_M may well answer better"
    return reason
