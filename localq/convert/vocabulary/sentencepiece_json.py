"""The vocabulary of a SentencePiece tokenizer that is there as tokenizer.json alone.

llama.cpp merges what a SentencePiece vocabulary gives the highest score first. tokenizer.json has
no scores, but its merges are in just that order, and so the scores come from their ranks: for
Llama 2, whose checkpoint has both files, tokens are in the very order of tokenizer.model's scores.
llama.cpp's converter (`conversion/base.py`, `_set_vocab_llama_hf`) instead gives every token the
same score, and marks most control tokens as ordinary text: its file yields other ids than the
tokenizer does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from localq.convert.fields import FieldBuilder
from localq.convert.vocabulary.files import TokenizerFiles
from localq.convert.vocabulary.huggingface import library_failures, load_tokenizer, texts_by_id
from localq.convert.vocabulary.special import read_merges, read_special_tokens
from localq.convert.vocabulary.steps import steps
from localq.convert.vocabulary.token import TokenType, looks_special, refuse_twins

if TYPE_CHECKING:
    from tokenizers import AddedToken

__all__ = ["adds_space_prefix", "is_sentencepiece_json", "write_sentencepiece_json"]

_SPACE = "▁"
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_ADDED_SCORE = -1000.0
_UNUSED_SCORE = -10000.0


def is_sentencepiece_json(files: TokenizerFiles) -> bool:
    """Whether tokenizer.json is a BPE over text with "▁" for spaces, not over bytes."""
    description = files.tokenizer_json or {}
    model = description.get("model")
    if not isinstance(model, dict) or "merges" not in model:
        return False
    if model.get("byte_fallback"):
        return True
    kinds = {step.get("type") for step in steps(description.get("pre_tokenizer"))}
    return "Metaspace" in kinds and "ByteLevel" not in kinds


def write_sentencepiece_json(files: TokenizerFiles, fields: FieldBuilder) -> str | None:
    """Add tokens, scores, types and special tokens to `fields`; a warning where one is due."""
    path = files.tokenizer_json_path
    tokenizer = load_tokenizer(files)
    with library_failures(path):
        texts = texts_by_id(files, tokenizer)
        added = tokenizer.get_added_tokens_decoder()
    description = files.tokenizer_json or {}
    merges = read_merges(files, description)
    model = description.get("model")
    unknown = model.get("unk_token") if isinstance(model, dict) else None

    tokens, types = _tokens(texts, added, unknown)
    scores = _scores(tokens, types, merges)
    refuse_twins(path, tokens)
    fields.string("tokenizer.ggml.model", "llama")
    fields.string("tokenizer.ggml.pre", "default")
    fields.strings("tokenizer.ggml.tokens", tokens)
    fields.f32s("tokenizer.ggml.scores", scores)
    fields.i32s("tokenizer.ggml.token_type", types)
    if not adds_space_prefix(description):
        fields.boolean("tokenizer.ggml.add_space_prefix", False)
    read_special_tokens(files, n_vocab=len(tokens), assumed=("bos",)).write(fields)
    normal = [text for text, type_ in zip(tokens, types, strict=True) if type_ is TokenType.NORMAL]
    missing = _missing_merge(normal, set(merges))
    if missing is None:
        return None
    return (
        f"{path}: llama.cpp merges whatever makes a token, this tokenizer does not (it has no "
        f"merge {missing[:100]!r}), and some texts may become other tokens"
    )


def adds_space_prefix(description: Mapping[str, Any]) -> bool:
    """Whether a tokenizer.json puts a space before the text."""
    for step in steps(description.get("normalizer")):
        if step.get("type") == "Prepend" and step.get("prepend") in (_SPACE, " "):
            return True
    for step in steps(description.get("pre_tokenizer")):
        if step.get("type") == "Metaspace":
            # Files from before 2024 have add_prefix_space in place of prepend_scheme.
            older = "always" if step.get("add_prefix_space", True) else "never"
            return bool(step.get("prepend_scheme", older) != "never")
    return False


def _tokens(
    texts: Sequence[str | None], added: Mapping[int, AddedToken], unknown: object
) -> tuple[list[str], list[TokenType]]:
    tokens: list[str] = []
    types: list[TokenType] = []
    for i, text in enumerate(texts):
        token = added.get(i)
        if text is None:
            text, type_ = f"[PAD{i}]", TokenType.UNUSED
        elif token is not None and (token.special or looks_special(text)):
            type_ = TokenType.CONTROL
        elif token is not None:
            text, type_ = text.replace(_SPACE, " "), TokenType.USER_DEFINED
        elif _BYTE.fullmatch(text):
            type_ = TokenType.BYTE
        else:
            type_ = TokenType.UNKNOWN if text == unknown else TokenType.NORMAL
        tokens.append(text)
        types.append(type_)
    return tokens, types


def _missing_merge(tokens: Sequence[str], merges: set[str]) -> str | None:
    """Two tokens that make a third one when put together, but are not among the merges."""
    known = set(tokens)
    for text in tokens:
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in known and right in known and f"{left} {right}" not in merges:
                return f"{left} {right}"
    return None


def _scores(
    tokens: Sequence[str], types: Sequence[TokenType], merges: Sequence[str]
) -> list[float]:
    ranks: dict[str, float] = {}
    for rank, merge in enumerate(merges):
        ranks.setdefault(merge.replace(" ", ""), rank)
    scores = [0.0] * len(tokens)
    for i, type_ in enumerate(types):
        if type_ in (TokenType.CONTROL, TokenType.USER_DEFINED):
            scores[i] = _ADDED_SCORE
        elif type_ is TokenType.UNUSED:
            scores[i] = _UNUSED_SCORE
    ordinary = [i for i, type_ in enumerate(types) if type_ is TokenType.NORMAL]
    ordinary.sort(key=lambda i: (ranks.get(tokens[i], inf), i))
    for place, i in enumerate(ordinary):
        scores[i] = float(-place)
    return scores
