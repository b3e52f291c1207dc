"""How the next token is chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass

from localq.errors import UsageError
from localq.messages import msg

__all__ = ["LogitBias", "SamplingParams"]

_MAX_SEED = 2**32 - 2  # llama.cpp reads 2**32 - 1 as "any seed"
_MAX_WINDOW = 1 << 24
_MAX_TOP_LOGPROBS = 1000
_MAX_STRINGS = 64
_MAX_STRING = 4096
_MAX_BIASES = 1 << 16


@dataclass(frozen=True, slots=True)
class LogitBias:
    """Added to the logit of a token before anything else; -inf forbids it."""

    token: int
    bias: float


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """Settings of one generation, with llama.cpp's meaning and in its order: logit_bias, the
    penalties, DRY, top_n_sigma, top_k, typical_p, top_p, min_p, XTC, temperature, seed. What is
    off costs nothing. UsageError names a value out of range."""

    max_tokens: int = 512
    """Generate at most this many."""
    temperature: float = 0.8
    """0 takes the likeliest token that is left."""
    top_k: int = 40
    """Only the k likeliest tokens; 0: all."""
    top_p: float = 0.95
    """The likeliest tokens that together have this probability; 1: all."""
    min_p: float = 0.05
    """Tokens at least this probable relative to the likeliest; 0: all."""
    repeat_penalty: float = 1.0
    """Above 1, tokens among the latest become less likely; 1: off."""
    seed: int | None = None
    """The same seed, prompt and model give the same text; None: a different one each time."""
    frequency_penalty: float = 0.0
    """Taken off a token's logit for each time that it is among the latest."""
    presence_penalty: float = 0.0
    """Taken off a token's logit if it is among the latest."""
    penalty_last_n: int = 64
    """So many tokens are the latest ones; -1: all."""
    dynatemp_range: float = 0.0
    """How far the temperature moves, down for a certain and up for an uncertain choice; 0: off."""
    dynatemp_exponent: float = 1.0
    typical_p: float = 1.0
    """The most typical tokens that together have this probability; 1: all."""
    top_n_sigma: float = -1.0
    """Tokens within so many standard deviations of the highest logit; -1: all."""
    dry_multiplier: float = 0.0
    """How strongly a repeated run of tokens is held back from going on; 0: off."""
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = 64
    """How far back runs are looked for; -1: everywhere."""
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    xtc_probability: float = 0.0
    """How often the likeliest of several likely tokens are left out; 0: never."""
    xtc_threshold: float = 0.1
    mirostat: int = 0
    """1 or 2: that version takes the place of all filters between logit_bias and temperature."""
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    stop: tuple[str, ...] = ()
    """The text ends before the first of these, wherever in a token it begins."""
    markers: tuple[str, ...] = ()
    """Control tokens of these texts are part of the text; all others leave none."""
    logit_bias: tuple[LogitBias, ...] = ()
    ignore_eos: bool = False
    """Never choose a token that ends the text."""
    grammar: str | None = None
    """GBNF; the text is what its `root` allows."""
    json_schema: str | None = None
    """As JSON; the text is a document that it describes."""
    logprobs: int | None = None
    """Tell the log probability of each token, and of so many likeliest ones; None: none."""

    def __post_init__(self) -> None:
        for name, least, most in _LIMITS:
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                upper = "" if most == math.inf else f" and at most {most}"
                raise UsageError(
                    msg(
                        "{name} is {value}; it must be at least {least}{upper}",
                        name=name,
                        value=value,
                        least=least,
                        upper=upper,
                    )
                )
        for name in ("stop", "dry_sequence_breakers", "markers"):
            strings = getattr(self, name)
            if len(strings) > _MAX_STRINGS:
                raise UsageError(
                    msg(
                        "{name} has {strings} strings; at most {max_strings}",
                        name=name,
                        strings=len(strings),
                        max_strings=_MAX_STRINGS,
                    )
                )
            if any(not 0 < len(string) <= _MAX_STRING for string in strings):
                raise UsageError(
                    msg(
                        "{name}: a string must have 1 to {max_string:,} characters",
                        name=name,
                        max_string=_MAX_STRING,
                    )
                )
        if len(self.logit_bias) > _MAX_BIASES:
            raise UsageError(
                msg(
                    "logit_bias has {logit_bias:,} tokens; too many",
                    logit_bias=len(self.logit_bias),
                )
            )
        if any(math.isnan(one.bias) or one.bias == math.inf for one in self.logit_bias):
            raise UsageError(msg("logit_bias: a bias must be a number, or minus infinity"))
        if self.grammar is not None and self.json_schema is not None:
            raise UsageError(
                msg("a grammar and a JSON schema at once"), hint=msg("give one of them")
            )

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is chosen whatever the filters say: none of those that are
        on can leave it out."""
        return (
            self.temperature == 0
            and not self.mirostat
            and self.typical_p >= 1
            and not self.xtc_probability
        )

    @property
    def penalises(self) -> bool:
        return self.penalty_last_n != 0 and (
            self.repeat_penalty != 1 or self.frequency_penalty != 0 or self.presence_penalty != 0
        )


_LIMITS: tuple[tuple[str, float, float], ...] = (
    ("max_tokens", 0, math.inf),
    ("temperature", 0, 100),
    ("top_k", 0, 2**31 - 1),
    ("top_p", 0, 1),
    ("min_p", 0, 1),
    ("repeat_penalty", 0.01, 100),
    ("seed", 0, _MAX_SEED),
    ("frequency_penalty", -100, 100),
    ("presence_penalty", -100, 100),
    ("penalty_last_n", -1, _MAX_WINDOW),
    ("dynatemp_range", 0, 100),
    ("dynatemp_exponent", 0, 100),
    ("typical_p", 0, 1),
    ("top_n_sigma", -1, 1e6),
    ("dry_multiplier", 0, 100),
    ("dry_base", 1, 100),
    ("dry_allowed_length", 0, _MAX_WINDOW),
    ("dry_penalty_last_n", -1, _MAX_WINDOW),
    ("xtc_probability", 0, 1),
    ("xtc_threshold", 0, 1),
    ("mirostat", 0, 2),
    ("mirostat_tau", 0, 100),
    ("mirostat_eta", 0, 1),
    ("logprobs", 0, _MAX_TOP_LOGPROBS),
)
