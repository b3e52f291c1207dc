"""What AWQ and GPTQ are asked for, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from localq.errors import UsageError
from localq.gpu_quant.options import Int4Options, Method
from localq.library import Model
from localq.messages import msg

__all__ = ["Int4Request", "Int4Result"]

_SAMPLES = {Method.AWQ: 128, Method.GPTQ: 512}
_SAMPLES_ON_CPU = 128
_MOST_SAMPLES = 100_000
_MOST_LENGTH = 131_072


@dataclass(frozen=True, slots=True)
class Int4Request:
    """`model` is a name or a checkpoint folder (None: the model used last). `symmetric` None is
    each method's own: GPTQ yes, AWQ no. `calib` is "wikitext2", "c4", "builtin" or a path (None:
    wikitext2, without a network builtin); of it `calib_samples` of `calib_length` tokens are read.
    `device` is "auto", "cuda" or "cpu". The others are those of `Int4Options`."""

    method: Method
    model: str | None = None
    bits: int = 4
    group_size: int = 128
    desc_act: bool = False
    damp_percent: float = 0.05
    symmetric: bool | None = None
    keep: tuple[str, ...] = ()
    calib: str | None = None
    calib_field: str = "text"
    calib_samples: int | None = None
    calib_length: int = 512
    shard_bytes: int = 4_000_000_000
    seed: int = 0
    device: str = "auto"
    backend: str = "gptqmodel"
    force: bool = False

    def options(self) -> Int4Options:
        """UsageError, with the reason, for what does not go together."""
        symmetric = self.symmetric if self.symmetric is not None else self.method is Method.GPTQ
        options = Int4Options(
            self.method,
            self.bits,
            self.group_size,
            self.desc_act,
            self.damp_percent,
            symmetric,
            self.keep,
        )
        samples = self.calib_samples
        if samples is not None and not 1 <= samples <= _MOST_SAMPLES:
            raise UsageError(
                msg("--calib-samples is 1 to {most:,}", most=_MOST_SAMPLES),
                hint=msg("128 to 1,024 are usual"),
            )
        if not 16 <= self.calib_length <= _MOST_LENGTH:
            raise UsageError(
                msg("--calib-length is 16 to {most:,} tokens", most=_MOST_LENGTH),
                hint=msg("512 to 2,048 are usual"),
            )
        if self.shard_bytes < 1 << 20:
            raise UsageError(
                msg("--shard-size is at least 1M"), hint=msg("for example --shard-size 4G")
            )
        return options

    def samples_on(self, device: str) -> int:
        """How many samples are read on "cpu" or "cuda"."""
        usual = _SAMPLES_ON_CPU if device == "cpu" else _SAMPLES[self.method]
        return self.calib_samples or usual


@dataclass(frozen=True, slots=True)
class Int4Result:
    """`cosine` of the logits with the original's, and the `perplexity` of both on a piece of the
    calibration text; None where the original was not loaded beside it, or it was there already."""

    name: str
    path: Path
    quant: str
    size_bytes: int
    parameters: int
    seconds: float
    cosine: float | None = None
    perplexity: float | None = None
    original_perplexity: float | None = None
    already_there: bool = False

    @classmethod
    def of_made(cls, model: Model) -> Int4Result:
        """That it was in the library already."""
        return cls(
            model.name,
            model.path,
            model.quant,
            model.size_bytes,
            model.parameters,
            seconds=0.0,
            already_there=True,
        )
