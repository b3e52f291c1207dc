"""What a checkpoint is quantized to by AWQ or GPTQ; what does not go together is refused here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from localq.errors import UsageError
from localq.messages import msg

__all__ = ["Int4Options", "Method", "int4_label"]

_GPTQ_BITS = (2, 3, 4, 8)
_GPTQ_GROUPS = (-1, 32, 64, 128, 256, 512, 1024)
_AWQ_GROUPS = (32, 64, 128)
_USUAL_GROUP = 128


class Method(StrEnum):
    GPTQ = "gptq"
    """Column by column, each one's error made up for in those that follow."""
    AWQ = "awq"
    """Columns that matter to the activations are scaled up first, then all are rounded."""


@dataclass(frozen=True, slots=True)
class Int4Options:
    """`group_size` weights of a row share a scale (-1: all of them). `desc_act` takes columns by
    their weight in the activations first; `damp_percent` of the mean diagonal is added to GPTQ's
    Hessian. `symmetric` has no zero points. Modules whose name one of the regular expressions
    `keep` matches stay in float16. UsageError, with the reason, for what does not go together."""

    method: Method
    bits: int = 4
    group_size: int = _USUAL_GROUP
    desc_act: bool = False
    damp_percent: float = 0.05
    symmetric: bool = True
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.method is Method.AWQ:
            self._check_awq()
        else:
            self._check_gptq()
        for pattern in self.keep:
            try:
                re.compile(pattern)
            except re.error as error:
                raise UsageError(
                    msg("--keep {pattern!r}: {error}", pattern=pattern, error=error),
                    hint=msg("a regular expression, such as --keep self_attn"),
                ) from None

    def _check_awq(self) -> None:
        if self.bits != 4:
            raise UsageError(
                msg("AWQ has 4 bits only: its loaders read nothing else, {bits}", bits=self.bits),
                hint=msg("localq quantize gptq --bits {bits}", bits=self.bits)
                if self.bits in _GPTQ_BITS
                else None,
            )
        if self.group_size not in _AWQ_GROUPS:
            raise UsageError(
                msg("AWQ's groups are of 32, 64 or 128, not {size}", size=self.group_size),
                hint=msg("localq quantize awq --group-size 128"),
            )
        if self.desc_act:
            raise UsageError(
                msg("--desc-act is for GPTQ: AWQ does not order columns"),
                hint=msg("leave it out, or: localq quantize gptq --desc-act"),
            )

    def _check_gptq(self) -> None:
        if self.bits not in _GPTQ_BITS:
            raise UsageError(
                msg("GPTQ has 2, 3, 4 or 8 bits, not {bits}", bits=self.bits),
                hint=msg("localq quantize gptq --bits 4"),
            )
        if self.group_size not in _GPTQ_GROUPS:
            raise UsageError(
                msg(
                    "GPTQ's groups are of 32, 64, 128, 256, 512 or 1024, or -1 for whole rows,"
                    " not {size}",
                    size=self.group_size,
                ),
                hint=msg("localq quantize gptq --group-size 128"),
            )
        if not 0 < self.damp_percent < 1:
            raise UsageError(
                msg("--damp-percent is between 0 and 1, not {damp:g}", damp=self.damp_percent),
                hint=msg("localq quantize gptq --damp-percent 0.05"),
            )

    @property
    def label(self) -> str:
        """What the model is called after its ":", such as "GPTQ-INT4"."""
        return int4_label(self.method, self.bits, self.group_size, mixed=bool(self.keep))

    def keeps(self, module: str) -> bool:
        """Whether the module of this name stays as it is."""
        return any(re.search(pattern, module) for pattern in self.keep)

    @property
    def equivalent_gguf(self) -> str:
        """The GGUF type of about the same size."""
        return {2: "q2_k", 3: "q3_k_m", 4: "q4_k_m", 8: "q8_0"}[self.bits]


def int4_label(method: Method, bits: int, group_size: int, *, mixed: bool) -> str:
    """What a model so quantized is called: "AWQ-INT4", "GPTQ-INT3-G64", "GPTQ-INT4-MIXED"."""
    parts = [method.upper(), f"INT{bits}"]
    if group_size != _USUAL_GROUP:
        parts.append(f"G{group_size}" if group_size > 0 else "ROWS")
    if mixed:
        parts.append("MIXED")
    return "-".join(parts)
