"""Grammars that a text has to follow, as llama.cpp reads them (GBNF).

llama.cpp's parser goes as deep into the C stack as a grammar nests, and what it refuses it says on
stderr alone; so what is too large or too deep is refused here.
"""

from __future__ import annotations

import importlib
import json
import re

from localq.errors import UsageError
from localq.messages import msg

__all__ = ["check_grammar", "gbnf"]

_MAX_GRAMMAR = 1 << 20
_MAX_SCHEMA = 1 << 18
_MAX_DEPTH = 200
_ROOT = re.compile(r"^\s*root\s*::=", re.MULTILINE)


def gbnf(grammar: str | None, json_schema: str | None) -> str | None:
    """The grammar to follow, from one of the two; None without either. UsageError.

    llama-cpp-python turns schemas into grammars: its module is plain Python and loads at once.
    """
    if json_schema is not None:
        grammar = _from_schema(_read_schema(json_schema))
    if grammar is not None:
        _check(grammar)
    return grammar


def check_grammar(grammar: str | None, json_schema: str | None) -> None:
    """UsageError where `gbnf` or llama.cpp would refuse it, as far as that shows at once."""
    if json_schema is not None:
        _read_schema(json_schema)
    if grammar is not None:
        _check(grammar)
        if not _ROOT.search(grammar):
            raise UsageError(msg("the grammar has no rule named root"))


def _check(grammar: str) -> None:
    if len(grammar) > _MAX_GRAMMAR:
        raise UsageError(
            msg("a grammar of {grammar:,} characters is too long", grammar=len(grammar))
        )
    if not grammar.strip():
        raise UsageError(msg("the grammar is empty"))
    if "\0" in grammar:
        raise UsageError(msg("a grammar cannot contain NUL"))
    if _depth(grammar) > _MAX_DEPTH:
        raise UsageError(
            msg("the grammar nests deeper than {max_depth} groups", max_depth=_MAX_DEPTH)
        )


def _read_schema(schema: str) -> dict[str, object]:
    if len(schema) > _MAX_SCHEMA:
        raise UsageError(
            msg("a JSON schema of {schema:,} characters is too long", schema=len(schema))
        )
    try:
        read = json.loads(schema)
    except (ValueError, RecursionError) as error:
        raise UsageError(msg("the JSON schema is no JSON: {error}", error=error)) from None
    if not isinstance(read, dict):
        raise UsageError(
            msg("the JSON schema must be an object"), hint=msg('such as {"type": "object"}')
        )
    return read


def _from_schema(read: dict[str, object]) -> str:
    schema = json.dumps(_without_reference(read))
    convert = importlib.import_module("llama_cpp.llama_grammar").json_schema_to_gbnf
    try:
        return str(convert(schema))
    except RecursionError:
        raise UsageError(msg("the JSON schema nests too deep")) from None
    except Exception as error:  # whatever a converter of other people's schemas may raise
        reason = str(error) or type(error).__name__
        raise UsageError(
            msg("the JSON schema cannot be followed: {reason}", reason=reason[:200])
        ) from None


def _without_reference(schema: dict[str, object]) -> dict[str, object]:
    """The schema with what its root refers to in its place: the converter looks for references
    only where there is none at the root. What a recursive pydantic model gives has one."""
    definitions = schema.get("$defs")
    for _ in range(_MAX_DEPTH):
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not isinstance(definitions, dict):
            break
        target = definitions.get(reference.removeprefix("#/$defs/"))
        if not isinstance(target, dict):
            break
        schema = {**target, "$defs": definitions}
    return schema


def _depth(grammar: str) -> int:
    """How deep groups nest, at most; parentheses in strings count too, which does no harm to a
    grammar that anyone would write."""
    depth = deepest = 0
    for character in grammar:
        if character == "(":
            depth += 1
            deepest = max(deepest, depth)
        elif character == ")":
            depth -= 1
    return deepest
