"""The ids that end a reply, of which generation_config.json may name more than GGUF's one `eos`.

llama.cpp ends a reply at `eos`, `eot`, `eom` and at tokens that it knows by their texts. An id that
none of these covers takes a place that is still free. Source: llama.cpp `src/llama-vocab.cpp`,
"maintain a list of tokens that cause end-of-generation".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localq.convert.fields import FieldBuilder
from localq.convert.vocabulary.files import TokenizerFiles

__all__ = ["write_turn_ends"]

_PLACES = tuple(f"tokenizer.ggml.{kind}_token_id" for kind in ("eos", "eot", "eom"))
_MOST = 64
_KNOWN_TEXTS = frozenset(
    [
        *("<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>"),
        *("<|calls|>", "<end_of_turn>", "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>"),
        *("[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>"),
        *("<|tool_response>", "<｜end▁of▁sentence｜>", "[e~["),
    ]
)


def write_turn_ends(files: TokenizerFiles, fields: FieldBuilder) -> str | None:
    """Give every id that ends a reply a place in `fields`; a warning where there are not enough."""
    tokens = fields.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list):
        return None
    known = {fields.get(place) for place in _PLACES}
    left: list[int] = []
    for token_id in _ends(files.generation_config) or _listed_ends(files.config):
        if token_id >= len(tokens) or token_id in known or tokens[token_id] in _KNOWN_TEXTS:
            continue
        known.add(token_id)
        place = next((place for place in _PLACES if fields.get(place) is None), None)
        if place is None:
            left.append(token_id)
        else:
            fields.u32(place, token_id)
    if not left:
        return None
    shown = ", ".join(f"{tokens[i]!r}"[:60] for i in left[:5])
    return f"{files.root}: replies will not end at {shown}: GGUF has no place for so many ends"


def _ends(config: Mapping[str, Any]) -> list[int]:
    """The ids of `eos_token_id`, which is one or a list."""
    value = config.get("eos_token_id")
    ids = value if isinstance(value, list) else [value]
    return [i for i in ids[:_MOST] if type(i) is int and i >= 0]


def _listed_ends(config: Mapping[str, Any]) -> list[int]:
    """Those of config.json, if it has a list; a single one is only what the tokenizer's is called,
    and often wrong."""
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        if isinstance(part.get("eos_token_id"), list):
            return _ends(part)
    return []
