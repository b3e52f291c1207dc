"""The tools a model may call, and the values it gives them where these are not written as JSON."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any

from localq.chat_format.reply.stream import MalformedError
from localq.errors import NotFoundError
from localq.messages import msg

__all__ = ["Tools", "json_value", "literal", "may_be_text", "node_value"]

_MAX_LITERAL = 1 << 20
_ANY_OF = ("anyOf", "oneOf", "allOf")


class Tools:
    """Functions in the form of OpenAI's API: {"type": "function", "function": {"name": ...}}."""

    def __init__(self, tools: Sequence[Mapping[str, Any]] = ()) -> None:
        functions = [_mapping(tool.get("function", tool)) for tool in tools]
        self._functions = {str(f["name"]): f for f in functions if f.get("name")}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._functions)

    def __bool__(self) -> bool:
        return bool(self._functions)

    def __contains__(self, name: object) -> bool:
        return name in self._functions

    def only(self, name: str) -> Tools:
        """The one tool of this name. NotFoundError."""
        if name not in self:
            raise NotFoundError(msg("there is no tool named {name!r}", name=name))
        return Tools([self._functions[name]])

    def schema(self, name: str) -> dict[str, Any]:
        """The JSON schema of a function's arguments; {} where nothing is known."""
        return _mapping(self._functions.get(name, {}).get("parameters"))

    def parameters(self, name: str) -> dict[str, Any]:
        """The JSON schemas of a function's parameters, by name, in order."""
        return _mapping(self.schema(name).get("properties"))

    def value(self, name: str, parameter: str, text: str) -> Any:
        """What a parameter written as plain text means, by its schema. A text that is not what the
        schema asks for stays a text: the tool will say so."""
        kinds = _kinds(_mapping(self.parameters(name).get(parameter)))
        if "string" in kinds:
            return None if text == "null" and "null" in kinds else text
        try:
            return json_value(text)
        except MalformedError:
            pass
        if not kinds:
            return text
        try:
            return literal(text.strip())  # as Python prints it: some templates do
        except MalformedError:
            return text


def may_be_text(schema: Mapping[str, Any]) -> bool:
    """Whether a schema allows strings and says so."""
    return "string" in _kinds(schema)


def json_value(text: str) -> Any:
    """JSON as models write it: with line breaks in strings too, but no NaN. MalformedError."""
    try:
        return json.loads(text, strict=False, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise MalformedError from None


def literal(text: str) -> Any:
    """A Python literal, or one with JSON's true, false and null. MalformedError."""
    if len(text) > _MAX_LITERAL:
        raise MalformedError
    try:
        return node_value(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise MalformedError from None


def node_value(node: ast.expr) -> Any:
    """The value of a literal's syntax tree. MalformedError."""
    match node:
        case ast.Constant(value=str() | int() | float() | None as value):  # bool is an int
            return value
        case ast.Name(id="true" | "false" | "null" as name):
            return {"true": True, "false": False, "null": None}[name]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            return [node_value(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            pairs = zip(keys, values, strict=True)
            return {
                str(node_value(key)): node_value(value) for key, value in pairs if key is not None
            }
    raise MalformedError


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    """The JSON types that a schema allows; none: nothing is known."""
    kind = schema.get("type")
    kinds = {str(k) for k in kind} if isinstance(kind, list) else {str(kind)} if kind else set()
    for key in _ANY_OF:
        options = schema.get(key)
        for option in options if isinstance(options, list) else []:
            kinds |= _kinds(_mapping(option))
    values = schema.get("enum")
    if not kinds and isinstance(values, list) and any(isinstance(v, str) for v in values):
        kinds.add("string")
    return kinds


def _mapping(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _refuse(constant: str) -> None:
    raise ValueError(constant)
