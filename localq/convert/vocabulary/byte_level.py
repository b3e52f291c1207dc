"""The vocabulary of a byte-level BPE tokenizer (tokenizer.json).

Same result as llama.cpp `conversion/base.py`, `_set_vocab_gpt2`, by the tokenizers library alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from localq.convert.fields import FieldBuilder
from localq.convert.vocabulary.files import TokenizerFiles
from localq.convert.vocabulary.huggingface import library_failures, load_tokenizer, texts_by_id
from localq.convert.vocabulary.pre_tokenizer import find_pre_tokenizer
from localq.convert.vocabulary.special import read_special_tokens
from localq.convert.vocabulary.token import TokenType, looks_special, refuse_twins

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

__all__ = ["write_byte_level"]


def write_byte_level(
    files: TokenizerFiles, fields: FieldBuilder, *, fallbacks: Mapping[str, str] | None = None
) -> str | None:
    """Add tokens, types, merges and special tokens to `fields`; a warning where one is due.

    `fallbacks` gives the texts of special tokens by their kind, such as "eot", for a family whose
    checkpoints do not declare them.
    """
    tokenizer = load_tokenizer(files)
    with library_failures(files.tokenizer_json_path):
        tokens, types = _tokens(files, tokenizer)
        pre = find_pre_tokenizer(tokenizer, files.tokenizer_json or {})
    refuse_twins(files.tokenizer_json_path, tokens)
    fields.string("tokenizer.ggml.model", "gpt2")
    fields.string("tokenizer.ggml.pre", pre.name)
    fields.strings("tokenizer.ggml.tokens", tokens)
    fields.i32s("tokenizer.ggml.token_type", types)
    special = read_special_tokens(files, merges=True)
    for kind, text in (fallbacks or {}).items():
        if (token_id := tokenizer.token_to_id(text)) is not None:
            special.ids.setdefault(kind, token_id)
    special.write(fields)
    if not pre.published and fields.get("tokenizer.ggml.add_bos_token") is None:
        # llama.cpp would decide it by the name, which here says how text is split and no more.
        fields.boolean("tokenizer.ggml.add_bos_token", False)
    if pre.exact:
        return None
    return (
        f"{files.tokenizer_json_path}: llama.cpp has no pre-tokenizer that is known to split text "
        f"as this one does; {pre.name!r} was taken, and some texts may become other tokens"
    )


def _tokens(files: TokenizerFiles, tokenizer: Tokenizer) -> tuple[list[str], list[TokenType]]:
    added = tokenizer.get_added_tokens_decoder()
    tokens: list[str] = []
    types: list[TokenType] = []
    for i, text in enumerate(texts_by_id(files, tokenizer)):
        if text is None:
            tokens.append(f"[PAD{i}]")
            types.append(TokenType.UNUSED)
        elif i in added:
            text, type_ = _added(tokenizer, text, added[i])
            tokens.append(text)
            types.append(type_)
        else:
            tokens.append(text)
            types.append(TokenType.NORMAL)

    return tokens, types


def _added(tokenizer: Tokenizer, text: str, token: AddedToken) -> tuple[str, TokenType]:
    """The text under which llama.cpp finds an added token: as it comes out of the normalizer."""
    if not token.normalized:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        text = tokenizer.decode(ids, skip_special_tokens=False)
    if token.special or looks_special(text):
        return text, TokenType.CONTROL
    return text.replace("▁", " "), TokenType.USER_DEFINED
