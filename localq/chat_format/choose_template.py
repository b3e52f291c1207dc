"""Which chat template a model is talked to with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from localq.chat_format.message import ChatMessage
from localq.chat_format.named_templates import NAMED_TEMPLATES, read_template
from localq.chat_format.template import ChatTemplate
from localq.errors import UnsupportedError
from localq.messages import Message, msg

__all__ = ["ChosenTemplate", "choose_template", "own_templates", "special_token"]

_KEY = "tokenizer.chat_template"
_TOOLS = ("tool_use", "tool-use", "tools")
_DOCUMENTS = ("rag",)
# Tokens that a format's markers are made of, and the format.
_FAMILIES = (
    ("<|im_start|>", "chatml"),
    ("<|start_header_id|>", "llama3"),
    ("<start_of_turn>", "gemma"),
    ("[INST]", "mistral"),
    ("<|assistant|>", "phi3"),
)
_TAUGHT_TO_CHAT = re.compile(
    r"(?:^|[-_ .])(?:instruct|chat|it|assistant)(?:$|[-_ .])", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class ChosenTemplate:
    template: ChatTemplate
    name: str
    """"" the model's own; else which one of its own, or one of `NAMED_TEMPLATES`, or a file."""
    warning: Message | None = None
    """Why it is not the model's own."""


def own_templates(metadata: Mapping[str, object]) -> dict[str, str]:
    """A GGUF's chat templates by name; the default's name is ""."""
    found: dict[str, str] = {}
    for key, source in metadata.items():
        name = key.removeprefix(_KEY)
        if name != key and name[:1] in ("", ".") and isinstance(source, str) and source.strip():
            found[name[1:]] = source
    return found


def choose_template(
    metadata: Mapping[str, object],
    choice: str | None = None,
    *,
    tools: bool = False,
    documents: bool = False,
) -> ChosenTemplate | None:
    """The template that `choice` means (one of the model's own by name, a known format, a file, or
    "none"), else the model's own for `tools` or `documents`, else the one its vocabulary speaks
    for, with a warning. None: the model continues text.

    UsageError for a choice that is none of these, UnsupportedError where no template works.
    """
    own = own_templates(metadata)
    if choice is not None:
        return _chosen(metadata, choice, own)
    wanted = (*(_TOOLS if tools else ()), *(_DOCUMENTS if documents else ()), "")
    name = next((name for name in wanted if name in own), None)
    if name is None:
        name = next(iter(own), None)
    if name is None:
        fallback = _by_vocabulary(metadata)
        if not fallback or not _TAUGHT_TO_CHAT.search(str(metadata.get("general.name", ""))):
            return None
        warning = msg(
            "the model has no chat template: {fallback} is used, as its vocabulary suggests",
            fallback=fallback,
        )
        return ChosenTemplate(_compile(metadata, NAMED_TEMPLATES[fallback]), fallback, warning)
    try:
        template = _compile(metadata, own[name])
        template.render([ChatMessage("user", "Hello")])
    except UnsupportedError as error:
        fallback = _by_vocabulary(metadata)
        if not fallback:
            hint = error.hint or msg("run it with another: --template chatml, or a file's, or none")
            raise UnsupportedError(error.message, hint=hint) from None
        warning = msg(
            "{message}: {fallback} is used instead", message=error.message, fallback=fallback
        )
        return ChosenTemplate(_compile(metadata, NAMED_TEMPLATES[fallback]), fallback, warning)
    return ChosenTemplate(template, name)


def _chosen(
    metadata: Mapping[str, object], choice: str, own: Mapping[str, str]
) -> ChosenTemplate | None:
    source = own.get(choice) or read_template(choice)
    if not source.strip():
        return None
    try:
        return ChosenTemplate(_compile(metadata, source), choice)
    except UnsupportedError as error:
        raise UnsupportedError(
            msg("{choice}: {message}", choice=choice, message=error.message), hint=error.hint
        ) from None


def _by_vocabulary(metadata: Mapping[str, object]) -> str | None:
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list):
        return None
    return next((name for token, name in _FAMILIES if token in tokens), None)


def _compile(metadata: Mapping[str, object], source: str) -> ChatTemplate:
    return ChatTemplate(source, special_token(metadata, "bos"), special_token(metadata, "eos"))


def special_token(metadata: Mapping[str, object], which: str) -> str:
    """The text of the BOS or EOS token; "" where the model has none."""
    tokens = metadata.get("tokenizer.ggml.tokens")
    id_ = metadata.get(f"tokenizer.ggml.{which}_token_id")
    if isinstance(tokens, list) and isinstance(id_, int) and 0 <= id_ < len(tokens):
        return str(tokens[id_])
    return ""
