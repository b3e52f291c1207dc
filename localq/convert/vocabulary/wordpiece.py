"""The vocabulary of a WordPiece tokenizer (BERT and most embedders).

Same result as llama.cpp `conversion/bert.py`, class BertModel.
"""

from __future__ import annotations

from localq.convert.fields import FieldBuilder
from localq.convert.vocabulary.files import TokenizerFiles
from localq.convert.vocabulary.huggingface import library_failures, load_tokenizer, texts_by_id
from localq.convert.vocabulary.pre_tokenizer import published_name
from localq.convert.vocabulary.special import read_special_tokens
from localq.convert.vocabulary.token import TokenType, looks_special, refuse_twins

__all__ = ["write_wordpiece"]

_WORD_START = "▁"


def write_wordpiece(files: TokenizerFiles, fields: FieldBuilder) -> str | None:
    """Add tokens, types and special tokens to `fields`; a warning where one is due.

    llama.cpp marks where words begin, WordPiece where they go on: "##ing" becomes "ing", and
    "the" becomes "▁the".
    """
    path = files.tokenizer_json_path
    tokenizer = load_tokenizer(files)
    with library_failures(path):
        texts = texts_by_id(files, tokenizer)
        added = tokenizer.get_added_tokens_decoder()
        pre = published_name(tokenizer) or "default"
    model = (files.tokenizer_json or {}).get("model")
    prefix = model.get("continuing_subword_prefix") if isinstance(model, dict) else None
    prefix = prefix if isinstance(prefix, str) and prefix else "##"

    tokens: list[str] = []
    types: list[TokenType] = []
    for i, text in enumerate(texts):
        token = added.get(i)
        if text is None:
            text, type_ = f"[PAD{i}]", TokenType.UNUSED
        elif token is not None and (token.special or looks_special(text)):
            type_ = TokenType.CONTROL
        else:
            type_ = TokenType.NORMAL if token is None else TokenType.USER_DEFINED
        if type_ is not TokenType.CONTROL:
            continues = text.startswith(prefix)
            text = text.removeprefix(prefix) if continues else _WORD_START + text
        tokens.append(text)
        types.append(type_)

    refuse_twins(path, tokens)
    fields.string("tokenizer.ggml.model", "bert")
    # llama.cpp reads the name but splits every WordPiece text in the same way.
    fields.string("tokenizer.ggml.pre", pre)
    fields.strings("tokenizer.ggml.tokens", tokens)
    fields.i32s("tokenizer.ggml.token_type", types)
    read_special_tokens(files, n_vocab=len(tokens)).write(fields)
    return None
