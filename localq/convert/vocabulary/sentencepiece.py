"""The vocabulary of a SentencePiece model (tokenizer.model).

Same result as llama.cpp `conversion/base.py`, `_set_vocab_sentencepiece`.
"""

from __future__ import annotations

from localq.convert.fields import FieldBuilder
from localq.convert.vocabulary.files import TokenizerFiles
from localq.convert.vocabulary.special import read_special_tokens
from localq.convert.vocabulary.token import (
    TokenType,
    looks_special,
    refuse_twins,
    vocabulary_size,
)
from localq.errors import BadFileError

__all__ = ["write_sentencepiece"]

_UNUSED_SCORE = -10000.0
_ADDED_SCORE = -1000.0
_MAX_MODEL_BYTES = 256 << 20


def write_sentencepiece(files: TokenizerFiles, fields: FieldBuilder) -> None:
    """Add tokens, scores, types and special tokens to `fields`."""
    from sentencepiece import SentencePieceProcessor

    path = files.sentencepiece_path
    if path.stat().st_size > _MAX_MODEL_BYTES:
        raise BadFileError(path, "too large for a tokenizer")
    processor = SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(path.read_bytes())
    except (RuntimeError, ValueError) as error:
        raise BadFileError(path, f"not a SentencePiece model: {error}") from None

    pieces = int(processor.vocab_size())
    size = vocabulary_size(files) or pieces
    tokens = [f"[PAD{i}]" for i in range(size)]
    scores = [_UNUSED_SCORE] * size
    types = [TokenType.UNUSED] * size
    for i in range(min(pieces, size)):
        try:
            tokens[i] = processor.IdToPiece(i)
        except UnicodeDecodeError:
            raise BadFileError(path, f"piece {i} is not valid UTF-8") from None
        scores[i] = processor.GetScore(i)
        if processor.IsUnknown(i):
            types[i] = TokenType.UNKNOWN
        elif processor.IsControl(i):
            types[i] = TokenType.CONTROL
        elif processor.IsUnused(i):
            types[i] = TokenType.UNUSED
        elif processor.IsByte(i):
            types[i] = TokenType.BYTE
        else:
            types[i] = TokenType.NORMAL

    for text, i in files.added_tokens_json.items():
        if type(i) is int and 0 <= i < size:
            tokens[i], scores[i], types[i] = text, _ADDED_SCORE, TokenType.USER_DEFINED
    for i, entry in files.added_tokens.items():
        if i >= size:
            continue
        text = entry["content"]
        if entry.get("special") or looks_special(text):
            types[i] = TokenType.CONTROL
        else:
            text = text.replace("▁", " ")
            types[i] = TokenType.USER_DEFINED
        tokens[i], scores[i] = text, _ADDED_SCORE

    refuse_twins(path, tokens)
    fields.string("tokenizer.ggml.model", "llama")
    fields.string("tokenizer.ggml.pre", "default")
    fields.strings("tokenizer.ggml.tokens", tokens)
    fields.f32s("tokenizer.ggml.scores", scores)
    fields.i32s("tokenizer.ggml.token_type", types)
    read_special_tokens(files, n_vocab=size).write(fields)
