"""Grammars (GBNF, as llama.cpp reads them) for values that a JSON schema describes.

What a schema asks for beyond types, properties, items and fixed values is left to the tool, which
checks what it gets; what is not understood allows any value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["GrammarRules", "in_order", "literal", "properties", "schema_rule"]

_MAX_DEPTH = 12
_COMMA = 'ws "," ws'
_SHARED = {
    "ws": r'| " " | "\n" [ \t]{0,20}',
    "char": r'[^"\\\x7F\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4})',
    "json-string": r'"\"" char* "\""',
    "integer": '"-"? ([0-9] | [1-9] [0-9]{0,15})',
    "number": 'integer ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,3})?',
    "boolean": '"true" | "false"',
    "null": '"null"',
}


class GrammarRules:
    """Rules that are being collected. `quote` stands around strings: "\\"" as in JSON, or a text
    of its own, and then names in objects stand bare."""

    def __init__(self, quote: str = '"') -> None:
        self.quote = quote
        self._rules = dict(_SHARED)
        if quote == '"':
            self._rules["string"] = "json-string"
        else:
            self._rules["string"] = f"{literal(quote)} {self.until(quote)}"
        key = "json-string" if quote == '"' else "[a-zA-Z_] [a-zA-Z0-9_]*"
        self._rules |= {
            "value": "string | number | boolean | null | object | array",
            "member": f'{key} ":" ws value',
            "object": '"{" ws (member (ws "," ws member)*)? ws "}"',
            "array": '"[" ws (value (ws "," ws value)*)? ws "]"',
        }

    def add(self, expression: str, name: str = "part") -> str:
        """A rule's name, for an expression."""
        name = f"{name}-{len(self._rules)}"
        self._rules[name] = expression
        return name

    def until(self, stop: str) -> str:
        """A rule for any text that does not hold `stop`, and `stop` after it."""
        base = f"until-{len(self._rules)}"
        letters = dict.fromkeys(stop)
        for state in range(len(stop)):
            reached = {letter: _begun(stop, stop[:state] + letter) for letter in letters}
            on = {letter: n for letter, n in reached.items() if n}
            others = "".join(map(_in_class, on))
            options = [
                literal(letter) + ("" if n == len(stop) else f" {base}-{n}")
                for letter, n in on.items()
            ]
            self._rules[f"{base}-{state}"] = " | ".join((*options, f"[^{others}] {base}-0"))
        return f"{base}-0"

    def text(self, root: str) -> str:
        """The grammar, beginning with `root`."""
        lines = (f"{name} ::= {expression}" for name, expression in self._rules.items())
        return "\n".join((f"root ::= {root}", *lines)) + "\n"


def schema_rule(rules: GrammarRules, schema: Mapping[str, Any], depth: int = 0) -> str:
    """The name of a rule for what `schema` describes."""
    if depth > _MAX_DEPTH:
        return "value"
    if "const" in schema:
        return rules.add(_fixed(rules, schema["const"]))
    values = schema.get("enum")
    if isinstance(values, list) and values:
        return rules.add(" | ".join(_fixed(rules, value) for value in values))
    for key in ("anyOf", "oneOf"):
        options = schema.get(key)
        if isinstance(options, list) and options:
            names = [schema_rule(rules, _mapping(option), depth + 1) for option in options]
            return rules.add(" | ".join(names))
    kind = schema.get("type")
    if isinstance(kind, list) and kind:
        names = [schema_rule(rules, {**schema, "type": one}, depth + 1) for one in kind]
        return rules.add(" | ".join(names))
    if kind == "array" and isinstance(schema.get("items"), Mapping):
        item = schema_rule(rules, schema["items"], depth + 1)
        return rules.add(f'"[" ws ({item} (ws "," ws {item})*)? ws "]"')
    if kind == "object" and schema.get("properties"):
        return rules.add(_object(rules, schema, depth))
    known = ("string", "integer", "number", "boolean", "null", "array", "object")
    return kind if isinstance(kind, str) and kind in known else "value"


def properties(schema: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], bool]]:
    """Name, schema and whether it is required; those that are come first."""
    names = schema.get("required")
    required = set(map(str, names)) if isinstance(names, list) else set()
    every = [(n, _mapping(s), n in required) for n, s in _mapping(schema.get("properties")).items()]
    return sorted(every, key=lambda one: not one[2])


def in_order(members: Sequence[tuple[str, bool]], separator: str) -> str:
    """Expressions in this order with `separator` between them, of which those that are not
    required (they are the last) may be left out."""
    required = [expression for expression, needed in members if needed]
    optional = [expression for expression, needed in members if not needed]
    if required or not separator:
        between = f" {separator} "
        more = (f"({separator} {expression})?" for expression in optional)
        return " ".join((between.join(required), *more)).strip()
    chains = []
    for i, expression in enumerate(optional):
        more = (f"({separator} {other})?" for other in optional[i + 1 :])
        chains.append(" ".join((expression, *more)))
    return f"({' | '.join(chains)})?" if chains else ""


def literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _object(rules: GrammarRules, schema: Mapping[str, Any], depth: int) -> str:
    members = []
    for name, described, needed in properties(schema):
        key = json.dumps(name, ensure_ascii=False) if rules.quote == '"' else name
        value = schema_rule(rules, described, depth + 1)
        members.append((rules.add(f'{literal(key)} ws ":" ws {value}', "member"), needed))
    return f'"{{" ws {in_order(members, _COMMA)} ws "}}"'


def _fixed(rules: GrammarRules, value: Any) -> str:
    if isinstance(value, str) and rules.quote != '"':
        return literal(rules.quote + value + rules.quote)
    return literal(json.dumps(value, ensure_ascii=False))


def _in_class(letter: str) -> str:
    return f"\\{letter}" if letter in "\\]^-[" else {"\n": "\\n"}.get(letter, letter)


def _begun(stop: str, text: str) -> int:
    """How much of `stop` the end of `text` is."""
    return next(n for n in range(len(stop), -1, -1) if text.endswith(stop[:n]))


def _mapping(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}
