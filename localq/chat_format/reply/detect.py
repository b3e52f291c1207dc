"""Which format a model's replies have, by what its chat template says of it."""

from __future__ import annotations

from localq.chat_format.reply.call_forms import form_of
from localq.chat_format.reply.call_rules import CALL_RULES, HERMES
from localq.chat_format.reply.channels import FUNCTIONARY, HARMONY
from localq.chat_format.reply.format import ReplyFormat
from localq.chat_format.reply.tagged import read_tagged

__all__ = ["PLAIN", "reply_format", "telling_marks"]

PLAIN = ReplyFormat("plain", read_tagged)
"""All of it is said."""

# What a template has to hold, and what stands around thinking then; the first that fits.
_THINKING = (
    ("[THINK]", "[THINK]", "[/THINK]"),
    ("<seed:think>", "<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel>thought", "<|channel>thought", "<channel|>"),
    ("<|begin|>assistant<|think|>", "<|think|>", "<|end|>"),
    ("[BEGIN FINAL RESPONSE]", "Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"),
    ("<mm:think>", "<mm:think>", "</mm:think>"),
    ("<thought>", "<thought>", "</thought>"),
    ("</think>", "<think>", "</think>"),
    ("<think>", "<think>", "</think>"),
)
_WRAPPERS = (
    ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    ("<|START_TEXT|>", "<|END_TEXT|>"),
    ("<response>", "</response>"),
)
_SILENT = {
    "<|begin|>assistant<|content|>": ("<|begin|>assistant", "<|content|>", "<|end|>"),
    "[BEGIN FINAL RESPONSE]": ("[END FINAL RESPONSE]",),
}


def reply_format(template: str) -> ReplyFormat:
    """The format of the replies of a model with this chat template (Jinja). A model whose template
    knows no calls is shown how to make them as most others do: see `plain_tools`."""
    for format_ in (HARMONY, FUNCTIONARY):
        if all(mark in template for mark in format_.needs):
            return format_
    thinking = next(((o, c) for mark, o, c in _THINKING if mark in template), None)
    rule = next((r for r in CALL_RULES if all(mark in template for mark in r.needs)), None)
    name = rule.name if rule else "plain"
    rule = rule or HERMES
    return ReplyFormat(
        f"{name}+thinking" if thinking else name,
        read_tagged,
        form_of(rule.name, template),
        thinking=(thinking,) if thinking else (),
        calls=rule.calls,
        wrappers=tuple(pair for pair in _WRAPPERS if pair[0] in template),
        silent=(
            *rule.silent,
            *(mark for key, marks in _SILENT.items() if key in template for mark in marks),
        ),
        control=rule.control,
    )


def telling_marks(template: str) -> list[str]:
    """All of a template that its format is told by."""
    marks = [mark for format_ in (HARMONY, FUNCTIONARY) for mark in format_.needs]
    marks += [mark for rule in CALL_RULES for mark in rule.needs]
    marks += [mark for mark, _, _ in _THINKING]
    marks += [mark for mark, _ in _WRAPPERS]
    return [mark for mark in dict.fromkeys((*marks, *_SILENT)) if mark in template]
