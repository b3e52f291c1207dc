"""Sampling in OpenAI's words, and in llama-server's where OpenAI has none."""

from __future__ import annotations

from typing import Any

from localq.engine.sampling import LogitBias
from localq.server.fields import Fields

__all__ = ["MAX_REPLIES", "read_response_format", "read_sampling", "read_seed", "read_stop"]

MAX_REPLIES = 16
"""Of one request."""

_SEEDS = 2**32 - 1
_MOST = 1 << 30
_NUMBERS = {
    "temperature": (0, 100),
    "top_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "min_p": (0, 1),
    "typical_p": (0, 1),
    "top_n_sigma": (-1, 1e6),
    "repeat_penalty": (0.01, 100),
    "dynatemp_range": (0, 100),
    "dynatemp_exponent": (0, 100),
    "xtc_probability": (0, 1),
    "xtc_threshold": (0, 1),
    "dry_multiplier": (0, 100),
    "dry_base": (1, 100),
    "mirostat_tau": (0, 100),
    "mirostat_eta": (0, 1),
}
_WHOLES = {
    "top_k": (0, 2**31 - 1),
    "mirostat": (0, 2),
    "dry_allowed_length": (0, 1 << 24),
    "dry_penalty_last_n": (-1, 1 << 24),
}


def read_sampling(fields: Fields, *, max_tokens: tuple[str, ...]) -> dict[str, Any]:
    """Fields of SamplingParams by name, those that are not given None. `max_tokens`: what that is
    called, the newest name first."""
    given: dict[str, Any] = {name: fields.number(name, *span) for name, span in _NUMBERS.items()}
    given |= {name: fields.whole(name, *span) for name, span in _WHOLES.items()}
    counts = (fields.whole(name, 0, _MOST) for name in max_tokens)
    given["max_tokens"] = next((count for count in counts if count is not None), None)
    given["penalty_last_n"] = fields.whole("repeat_last_n", -1, 1 << 24)
    given["seed"] = read_seed(fields)
    given["stop"] = read_stop(fields, "stop")
    given["logit_bias"] = _biases(fields)
    given["ignore_eos"] = fields.flag("ignore_eos") or None
    given["grammar"] = fields.text("grammar", most=1 << 20)
    given["json_schema"] = fields.schema("json_schema")
    return given


def read_seed(fields: Fields) -> int | None:
    """Any whole number is a seed; -1 stands for none."""
    seed = fields.whole("seed", -(2**63), 2**64)
    return None if seed is None or seed == -1 else seed % _SEEDS


def read_stop(fields: Fields, name: str) -> tuple[str, ...]:
    return tuple(one for one in fields.texts(name, most=16, longest=1000) if one)


def read_response_format(fields: Fields) -> str | None:
    """The JSON schema that a reply has to follow, as JSON."""
    wanted = fields.object("response_format")
    kind = wanted and wanted.choice("type", ("text", "json_object", "json_schema"))
    if wanted is None or kind in (None, "text"):
        return None
    if kind == "json_object":
        return wanted.schema("schema") or '{"type": "object"}'
    inner = wanted.object("json_schema")
    if inner is None:
        wanted.require("json_schema")
        return None
    inner.require("schema")
    return inner.schema("schema")


def _biases(fields: Fields) -> tuple[LogitBias, ...]:
    values = fields.object("logit_bias")
    if values is None:
        return ()
    if len(values.values) > 1024:
        fields.refuse("logit_bias", "an object of at most 1024 tokens")
    found = []
    for token in values.values:
        if not token.isascii() or not token.isdigit() or len(token) > 9:
            fields.refuse("logit_bias", "an object whose names are numbers of tokens")
        bias = values.number(token, -100, 100)
        if bias is not None:
            found.append(LogitBias(int(token), bias if bias > -100 else -float("inf")))
    return tuple(found)
