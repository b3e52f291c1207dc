"""How a file is to be quantized: its type, and what the user wants otherwise."""

from __future__ import annotations

import re
from dataclasses import dataclass

from localq.errors import UsageError
from localq.formats.types import QuantType, TensorType
from localq.messages import msg

__all__ = ["QuantOptions", "TypeRule", "parse_type_rule", "type_rule"]


@dataclass(frozen=True, slots=True)
class TypeRule:
    """Tensors whose name the regular expression `pattern` matches anywhere become `type`."""

    pattern: str
    type: TensorType


@dataclass(frozen=True, slots=True)
class QuantOptions:
    """Names and meaning follow llama-quantize; of several rules that match, the first counts.

    `pure` gives every tensor the type's default, without a mixture.
    """

    type: QuantType
    rules: tuple[TypeRule, ...] = ()
    output_type: TensorType | None = None
    embedding_type: TensorType | None = None
    pure: bool = False


def parse_type_rule(text: str) -> TypeRule:
    """PATTERN=TYPE, such as attn_v=q6_k."""
    pattern, separator, type_ = text.rpartition("=")
    if not separator or not pattern:
        raise UsageError(
            msg("{text!r} is not PATTERN=TYPE", text=text), hint=msg("for example: attn_v=q6_k")
        )
    return type_rule(pattern, TensorType.parse(type_))


def type_rule(pattern: str, type_: TensorType) -> TypeRule:
    """A rule for a pattern a user wrote; UsageError for what is no regular expression."""
    pattern = pattern.lower()
    try:
        re.compile(pattern)
    except (re.error, RecursionError) as error:
        raise UsageError(
            msg("{pattern!r} is no regular expression: {error}", pattern=pattern, error=error)
        ) from None
    return TypeRule(pattern, type_)
