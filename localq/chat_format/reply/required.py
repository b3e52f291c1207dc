"""A grammar by which a model has to call a tool (tool_choice "required", or one by name)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localq.chat_format.reply.call_forms import CallForm
from localq.chat_format.reply.made import new_id
from localq.chat_format.reply.schema_grammar import (
    GrammarRules,
    in_order,
    literal,
    properties,
    schema_rule,
)
from localq.chat_format.reply.tools import Tools, may_be_text

__all__ = ["call_grammar"]


def call_grammar(
    form: CallForm, tools: Tools, thinking: tuple[str, str] | None, prompt: str
) -> str:
    """Thinking, which may be left out unless `prompt` begins it, and one call."""
    rules = GrammarRules(form.quote or '"')
    calls = [rules.add(_call(rules, form, tools, name), "call") for name in tools.names]
    root = f"({' | '.join(calls)})"
    if thinking := form.thinking or thinking:
        begin, end = thinking
        rest = f"{rules.until(end)} ws ws"
        if prompt.rstrip().endswith(begin):
            root = f"{rest} {root}"
        else:
            root = f"(ws {literal(begin)} {rest})? {root}"
    return rules.text(root)


def _call(rules: GrammarRules, form: CallForm, tools: Tools, name: str) -> str:
    begin = form.begin.replace("{id}", new_id().lower() + "0")
    begin = literal(begin + name + form.named)
    if form.argument is None:
        schema = {"type": "object", **tools.schema(name)}
        nothing = not schema.get("properties")
        arguments = '"{}"' if nothing else schema_rule(rules, schema)
        return f"{begin} {arguments} {_text(form.end)}"
    members = [
        (rules.add(_argument(rules, form, key, schema), "argument"), needed)
        for key, schema, needed in properties(tools.schema(name))
    ]
    return f"{begin} {in_order(members, _text(form.between))} {_text(form.end)}"


def _argument(rules: GrammarRules, form: CallForm, key: str, schema: Mapping[str, Any]) -> str:
    assert form.argument is not None
    before, after, end = form.argument
    if form.quote or not may_be_text(schema):
        return f"{literal(before + key + after)} {schema_rule(rules, schema)} {_text(end)}"
    named = literal(before + key + (form.typed or after))
    values = schema.get("enum")
    if isinstance(values, list) and values:
        return f"{named} ({' | '.join(literal(str(value)) for value in values)}) {_text(end)}"
    return f"{named} {rules.until(end)}"


def _text(text: str) -> str:
    return literal(text) if text else ""
