"""The vocabulary of a Unigram tokenizer.json (T5, XLM-RoBERTa and embedders built on it).

Fields and their order follow llama.cpp `conversion/bert.py`, `_xlmroberta_set_vocab`. Where that
reads from transformers' settings how white space is treated, localq reads it from the tokenizer.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localq.convert.fields import FieldBuilder
from localq.convert.vocabulary.files import TokenizerFiles
from localq.convert.vocabulary.huggingface import library_failures, load_tokenizer, texts_by_id
from localq.convert.vocabulary.sentencepiece_json import adds_space_prefix
from localq.convert.vocabulary.special import read_special_tokens
from localq.convert.vocabulary.steps import steps
from localq.convert.vocabulary.token import TokenType, looks_special, refuse_twins
from localq.errors import BadFileError
from localq.formats.gguf import Field, ValueType
from localq.messages import msg

__all__ = ["write_normalization", "write_unigram"]

_ADDED_SCORE = 0.0
_UNUSED_SCORE = -10000.0


def write_unigram(
    files: TokenizerFiles, fields: FieldBuilder, *, token_types: tuple[str, int] | None = None
) -> str | None:
    """Add tokens, scores, types and special tokens to `fields`; a warning where one is due.

    `token_types` is an embedder's field for its number of token types, which the converter
    writes among those of the tokenizer.
    """
    path = files.tokenizer_json_path
    tokenizer = load_tokenizer(files)
    with library_failures(path):
        texts = texts_by_id(files, tokenizer)
        added = tokenizer.get_added_tokens_decoder()
    description = files.tokenizer_json or {}
    model: Mapping[str, Any] = description.get("model") or {}
    vocabulary = model.get("vocab")
    pieces = vocabulary if isinstance(vocabulary, list) else []
    unknown = model.get("unk_id")

    tokens: list[str] = []
    scores: list[float] = []
    types: list[TokenType] = []
    for i, text in enumerate(texts):
        token = added.get(i)
        score = float(pieces[i][1]) if i < len(pieces) else _ADDED_SCORE
        if text is None:
            text, score, type_ = f"[PAD{i}]", _UNUSED_SCORE, TokenType.UNUSED
        elif i == unknown:
            type_ = TokenType.UNKNOWN
        elif token is not None:
            special = token.special or looks_special(text)
            type_ = TokenType.CONTROL if special else TokenType.USER_DEFINED
        else:
            type_ = TokenType.NORMAL
        tokens.append(text)
        scores.append(score)
        types.append(type_)

    refuse_twins(path, tokens)
    fields.string("tokenizer.ggml.model", "t5")
    fields.string("tokenizer.ggml.pre", "default")
    fields.strings("tokenizer.ggml.tokens", tokens)
    fields.f32s("tokenizer.ggml.scores", scores)
    fields.i32s("tokenizer.ggml.token_type", types)
    fields.boolean("tokenizer.ggml.add_space_prefix", adds_space_prefix(description))
    if token_types is not None:
        fields.u32(*token_types)
    write_normalization(path, fields, _joins_spaces(description), _charsmap(path, description))
    read_special_tokens(files, n_vocab=len(tokens), assumed=("eos",)).write(fields)
    return None


def write_normalization(
    path: Path, fields: FieldBuilder, joins_spaces: bool, charsmap: bytes
) -> None:
    """What becomes of a text before it is cut; `charsmap` is SentencePiece's table of normalised
    characters: a trie, its length first, and texts.

    llama.cpp follows the trie without looking, so a table that lies about its length is refused.
    """
    if charsmap and int.from_bytes(charsmap[:4], "little") + 4 >= len(charsmap):
        raise BadFileError(path, msg("precompiled_charsmap is cut short"))
    fields.boolean("tokenizer.ggml.remove_extra_whitespaces", joins_spaces)
    if charsmap:
        fields.field(
            "tokenizer.ggml.precompiled_charsmap",
            Field(ValueType.ARRAY, list(charsmap), ValueType.UINT8),
        )


def _joins_spaces(description: Mapping[str, Any]) -> bool:
    """Whether runs of spaces count as one."""
    for step in steps(description.get("normalizer")):
        pattern = step.get("pattern")
        regex = pattern.get("Regex") if isinstance(pattern, dict) else None
        if step.get("type") == "Replace" and regex in (" {2,}", r"\s+", " +"):
            return True
    kinds = {step.get("type") for step in steps(description.get("pre_tokenizer"))}
    return bool(kinds & {"WhitespaceSplit", "Whitespace"})


def _charsmap(path: Path, description: Mapping[str, Any]) -> bytes:
    for step in steps(description.get("normalizer")):
        text = step.get("precompiled_charsmap")
        if step.get("type") != "Precompiled" or not isinstance(text, str):
            continue
        try:
            return b64decode(text, validate=True)
        except Base64Error as error:
            raise BadFileError(
                path, msg("precompiled_charsmap is not base64: {error}", error=error)
            ) from None
    return b""
