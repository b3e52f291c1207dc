"""The vocabulary of a SentencePiece model (tokenizer.model).

Same result as llama.cpp `conversion/base.py`, `_set_vocab_sentencepiece`, but for two things that
give other ids than the tokenizer there: a Unigram model is written as if its pieces were to be
merged, and pieces that the user defined, which are found in a text before all others, as ordinary.
"""

from __future__ import annotations

from localq.convert.fields import FieldBuilder
from localq.convert.vocabulary.files import TokenizerFiles
from localq.convert.vocabulary.sentencepiece_model import SentencePieceTraits
from localq.convert.vocabulary.special import read_special_tokens
from localq.convert.vocabulary.token import (
    TokenType,
    looks_special,
    refuse_twins,
    vocabulary_size,
)
from localq.convert.vocabulary.unigram import write_normalization
from localq.errors import BadFileError
from localq.messages import msg

__all__ = ["adds_space", "write_sentencepiece"]

_UNUSED_SCORE = -10000.0
_ADDED_SCORE = -1000.0
_MAX_MODEL_BYTES = 256 << 20


def write_sentencepiece(files: TokenizerFiles, fields: FieldBuilder) -> str | None:
    """Add tokens, scores, types and special tokens to `fields`; a warning where one is due."""
    from sentencepiece import SentencePieceProcessor

    path = files.sentencepiece_path
    if path.stat().st_size > _MAX_MODEL_BYTES:
        raise BadFileError(path, msg("too large for a tokenizer"))
    processor = SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(path.read_bytes())
        traits = files.sentencepiece_traits
    except (RuntimeError, ValueError) as error:
        raise BadFileError(path, msg("not a SentencePiece model: {error}", error=error)) from None

    pieces = int(processor.vocab_size())
    size = vocabulary_size(files) or pieces
    tokens = [f"[PAD{i}]" for i in range(size)]
    scores = [_UNUSED_SCORE] * size
    types = [TokenType.UNUSED] * size
    for i in range(min(pieces, size)):
        try:
            tokens[i] = processor.IdToPiece(i)
        except UnicodeDecodeError:
            raise BadFileError(path, msg("piece {i} is not valid UTF-8", i=i)) from None
        scores[i] = processor.GetScore(i)
        if processor.IsUnknown(i):
            types[i] = TokenType.UNKNOWN
        elif processor.IsControl(i):
            types[i] = TokenType.CONTROL
        elif processor.IsUnused(i):
            types[i] = TokenType.UNUSED
        elif processor.IsByte(i):
            types[i] = TokenType.BYTE
        elif i in traits.user_defined:
            tokens[i] = tokens[i].replace("▁", " ")
            types[i] = TokenType.USER_DEFINED
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
    fields.string("tokenizer.ggml.model", "t5" if traits.unigram else "llama")
    fields.string("tokenizer.ggml.pre", "default")
    fields.strings("tokenizer.ggml.tokens", tokens)
    fields.f32s("tokenizer.ggml.scores", scores)
    fields.i32s("tokenizer.ggml.token_type", types)
    if traits.unigram:
        fields.boolean("tokenizer.ggml.add_space_prefix", traits.adds_space)
        write_normalization(path, fields, traits.joins_spaces, traits.charsmap)
    special = read_special_tokens(files, n_vocab=size, assumed=("bos",))
    if traits.unigram:
        # What llama.cpp assumes of a merged vocabulary, and otherwise of this kind.
        for kind, token_id in (
            ("bos", processor.bos_id()),
            ("eos", processor.eos_id()),
            ("unk", processor.unk_id()),
        ):
            if token_id >= 0:
                special.ids.setdefault(kind, token_id)
        special.add.setdefault("bos", True)
        special.add.setdefault("eos", False)
    special.write(fields)
    if problem := _problem(traits):
        return f"{path}: llama.cpp {problem}; some texts may become other tokens"
    return None


def adds_space(files: TokenizerFiles) -> bool:
    """Whether the tokenizer puts a space before every text."""
    return files.sentencepiece_traits.adds_space


def _problem(traits: SentencePieceTraits) -> str | None:
    """What llama.cpp does otherwise than the tokenizer."""
    if traits.unigram:
        if traits.byte_fallback:
            return msg("takes unknown characters as such, and not as their bytes")
        return None
    if not traits.byte_fallback:
        return msg("ends its process at characters that the tokenizer has no token for")
    if traits.charsmap:
        return msg("does not normalise characters as this tokenizer does")
    return None
