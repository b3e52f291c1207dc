"""Gemma 4's vocabulary: a BPE over text with "▁" for spaces, which llama.cpp merges by ranks.

Same result as llama.cpp `conversion/gemma.py`, Gemma4Model.set_vocab.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from localq.convert.fields import FieldBuilder
from localq.convert.vocabulary.files import TokenizerFiles
from localq.convert.vocabulary.huggingface import library_failures, load_tokenizer, texts_by_id
from localq.convert.vocabulary.special import read_special_tokens
from localq.convert.vocabulary.token import TokenType, refuse_twins

__all__ = ["write_gemma4"]

_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_SCORE = -1000.0
_READ_BY_PROGRAMS = frozenset(
    {
        *("<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>"),
        *("<|tool_response>", "<tool_response|>", '<|"|>'),
    }
)
"""Special tokens whose text whoever reads an answer must see."""


def write_gemma4(files: TokenizerFiles, fields: FieldBuilder) -> None:
    """Add tokens, scores, types, merges and special tokens to `fields`."""
    tokenizer = load_tokenizer(files)
    with library_failures(files.tokenizer_json_path):
        texts = texts_by_id(files, tokenizer)
        added = tokenizer.get_added_tokens_decoder()
        own = tokenizer.get_vocab_size(with_added_tokens=False)
    special = set(_special_texts(files.tokenizer_config or {}))
    tokens, types = [], []
    for i, text in enumerate(texts):
        if text is None:
            text, type_ = f"[PAD{i}]", TokenType.UNUSED
        elif text in _READ_BY_PROGRAMS:
            type_ = TokenType.USER_DEFINED
        elif text in special or (i in added and added[i].special):
            type_ = TokenType.CONTROL
        elif i >= own:
            type_ = TokenType.USER_DEFINED
        else:
            type_ = TokenType.BYTE if _BYTE.fullmatch(text) else TokenType.NORMAL
        tokens.append(text)
        types.append(type_)
    refuse_twins(files.tokenizer_json_path, tokens)
    fields.string("tokenizer.ggml.model", "gemma4")
    fields.strings("tokenizer.ggml.tokens", tokens)
    fields.f32s("tokenizer.ggml.scores", [_SCORE] * len(tokens))
    fields.i32s("tokenizer.ggml.token_type", types)
    read_special_tokens(files, merges=True).write(fields)
    fields.boolean("tokenizer.ggml.add_space_prefix", False)
    fields.boolean("tokenizer.ggml.add_bos_token", True)


def _special_texts(config: Mapping[str, Any]) -> Iterator[str]:
    """What tokenizer_config.json calls special."""
    more = config.get("extra_special_tokens")
    several: list[Any] = [config.get("additional_special_tokens"), more]
    for key, value in config.items():
        if key.endswith("_token"):
            several.append([value])
    for values in several:
        items: list[Any] = []
        if isinstance(values, dict):
            items = list(values.values())
        elif isinstance(values, list):
            items = values
        for item in items:
            text = item.get("content") if isinstance(item, dict) else item
            if isinstance(text, str):
                yield text
