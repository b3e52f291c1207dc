"""The vocabulary of a byte-level BPE tokenizer (tokenizer.json).

Same result as llama.cpp `conversion/base.py`, `_set_vocab_gpt2`, by the tokenizers library alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from localq.convert.fields import FieldBuilder
from localq.convert.vocabulary.files import TokenizerFiles
from localq.convert.vocabulary.pre_tokenizer import find_pre_tokenizer
from localq.convert.vocabulary.special import read_special_tokens
from localq.convert.vocabulary.token import TokenType, looks_special, vocabulary_size
from localq.errors import BadFileError

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

__all__ = ["load_tokenizer", "write_byte_level"]


def load_tokenizer(files: TokenizerFiles) -> Tokenizer:
    """tokenizer.json, with the added tokens that only tokenizer_config.json knows."""
    from tokenizers import AddedToken, Tokenizer

    path = files.tokenizer_json_path
    try:
        tokenizer = Tokenizer.from_str(path.read_text("utf-8"))
    except Exception as error:  # the library raises bare Exception for whatever it cannot parse
        raise BadFileError(path, f"not a tokenizer: {error}") from None
    # A checkpoint saved after a training run may carry the run's truncation and padding.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    known = tokenizer.get_added_tokens_decoder()
    missing = [
        AddedToken(
            entry["content"],
            special=bool(entry.get("special")),
            normalized=bool(entry.get("normalized", not entry.get("special"))),
            lstrip=bool(entry.get("lstrip")),
            rstrip=bool(entry.get("rstrip")),
        )
        for i, entry in sorted(files.added_tokens.items())
        if i not in known and tokenizer.token_to_id(entry["content"]) in (None, i)
    ]
    if missing:
        tokenizer.add_tokens(missing)
    return tokenizer


def write_byte_level(files: TokenizerFiles, fields: FieldBuilder) -> str | None:
    """Add tokens, types, merges and special tokens to `fields`; a warning where one is due."""
    tokenizer = load_tokenizer(files)
    by_id = {i: text for text, i in tokenizer.get_vocab(with_added_tokens=True).items()}
    size = vocabulary_size(files) or len(by_id)
    if by_id and max(by_id) >= size:
        raise BadFileError(
            files.tokenizer_json_path,
            f"token {max(by_id)} is beyond the model's vocabulary of {size}",
        )
    added = tokenizer.get_added_tokens_decoder()
    tokens: list[str] = []
    types: list[TokenType] = []
    for i in range(size):
        text = by_id.get(i)
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

    pre = find_pre_tokenizer(tokenizer, files.tokenizer_json or {})
    fields.string("tokenizer.ggml.model", "gpt2")
    fields.string("tokenizer.ggml.pre", pre.name)
    fields.strings("tokenizer.ggml.tokens", tokens)
    fields.i32s("tokenizer.ggml.token_type", types)
    read_special_tokens(files, merges=True).write(fields)
    if pre.exact:
        return None
    return (
        f"{files.tokenizer_json_path}: llama.cpp has no pre-tokenizer that is known to split text "
        f"as this one does; {pre.name!r} was taken, and some texts may become other tokens"
    )


def _added(tokenizer: Tokenizer, text: str, token: AddedToken) -> tuple[str, TokenType]:
    """The text under which llama.cpp finds an added token: as it comes out of the normalizer."""
    if not token.normalized:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        text = tokenizer.decode(ids, skip_special_tokens=False)
    if token.special or looks_special(text):
        return text, TokenType.CONTROL
    return text.replace("▁", " "), TokenType.USER_DEFINED
