"""Vocabularies that are a file of tiktoken's ranks, as Kimi K2 and Hunyuan's experts have them.

Same result as llama.cpp `conversion/deepseek.py` and `conversion/hunyuan.py`, which run the
checkpoint's own Python code to read them; what that code says of special tokens is said here.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from localq.convert.fields import FieldBuilder
from localq.convert.vocabulary.files import TokenizerFiles
from localq.convert.vocabulary.special import read_special_tokens
from localq.convert.vocabulary.token import MAX_VOCABULARY, TokenType, vocabulary_size
from localq.errors import BadFileError
from localq.formats.presence import is_there
from localq.messages import msg

__all__ = ["HUNYUAN", "KIMI", "RankedVocabulary", "byte_letters", "write_ranks"]

_MOST_BYTES = 256 << 20
_LONGEST = 1024


@dataclass(frozen=True, slots=True)
class RankedVocabulary:
    """`file` holds the ranks; after them come special tokens: `texts`, then `reserved` more that
    are called by their ids, unless tokenizer_config.json names them."""

    file: str
    pre: str
    texts: tuple[str, ...] = ()
    reserved: int = 0

    def is_in(self, files: TokenizerFiles) -> bool:
        """Whether it is the checkpoint's only vocabulary."""
        return is_there(files.root / self.file) and not is_there(files.tokenizer_json_path)


KIMI = RankedVocabulary("tiktoken.model", "kimi-k2", reserved=256)
HUNYUAN = RankedVocabulary(
    "hy.tiktoken",
    "hunyuan",
    texts=(
        *("<|endoftext|>", "<|startoftext|>", "<|bos|>", "<|eos|>", "<|pad|>"),
        *(f"<|extra_{i}|>" for i in range(205)),
    ),
)


def write_ranks(files: TokenizerFiles, fields: FieldBuilder, kind: RankedVocabulary) -> None:
    """Add tokens, types, merges and special tokens to `fields`."""
    path = files.root / kind.file
    ranks = _read(path)
    special = _special(files, kind, len(ranks))
    letters = byte_letters()
    texts = ["".join(letters[byte] for byte in token) for token in ranks]
    merges = [
        " ".join("".join(letters[byte] for byte in part) for part in parts)
        for token, rank in ranks.items()
        if len(parts := _parts(ranks, token, rank)) == 2
    ]
    by_id = {**dict(enumerate(texts)), **{i: text for text, i in special.items()}}
    size = vocabulary_size(files) or len(by_id)
    fields.string("tokenizer.ggml.model", "gpt2")
    fields.string("tokenizer.ggml.pre", kind.pre)
    fields.strings("tokenizer.ggml.tokens", [by_id.get(i, f"[PAD{i}]") for i in range(size)])
    control = set(special.values())
    fields.i32s("tokenizer.ggml.token_type", [_type(i, by_id, control) for i in range(size)])
    fields.strings("tokenizer.ggml.merges", merges)
    found = read_special_tokens(files)
    for name, text in _named(files).items():
        if (token_id := special.get(text)) is not None:
            found.ids.setdefault(name, token_id)
    found.write(fields)


def _type(i: int, by_id: Mapping[int, str], control: set[int]) -> TokenType:
    if i not in by_id:
        return TokenType.UNUSED
    return TokenType.CONTROL if i in control else TokenType.NORMAL


def _named(files: TokenizerFiles) -> Mapping[str, str]:
    """Kind -> text of what begins and ends a text, as tokenizer_config.json names it."""
    config = files.tokenizer_config or {}
    named: dict[str, str] = {}
    for kind in ("bos", "eos"):
        entry = config.get(f"{kind}_token")
        text = entry.get("content") if isinstance(entry, dict) else entry
        if isinstance(text, str):
            named[kind] = text
    return named


def _special(files: TokenizerFiles, kind: RankedVocabulary, first: int) -> dict[str, int]:
    texts: list[str] = list(kind.texts)
    for i in range(first + len(texts), first + len(texts) + kind.reserved):
        given = files.added_tokens.get(i)
        texts.append(str(given["content"]) if given else f"<|reserved_token_{i}|>")
    special = {text: first + i for i, text in enumerate(texts)}
    if len(special) != len(texts):
        raise BadFileError(
            files.tokenizer_config_path, msg("two special tokens have the same text")
        )
    return special


def _read(path: Path) -> dict[bytes, int]:
    """The byte sequences in the order of their ranks, which count from 0."""
    if path.stat().st_size > _MOST_BYTES:
        raise BadFileError(path, msg("longer than {max_bytes:,} bytes", max_bytes=_MOST_BYTES))
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line:
            continue
        encoded, _, rank = line.partition(b" ")
        try:
            token = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            token = b""
        sane = 0 < len(token) <= _LONGEST and token not in ranks and len(ranks) < MAX_VOCABULARY
        if not sane or rank.strip() != str(len(ranks)).encode():
            raise BadFileError(
                path,
                msg("line {number} is no token and its rank", number=number),
                hint=msg("pull the model again"),
            )
        ranks[token] = len(ranks)
    if not all(bytes([byte]) in ranks for byte in range(256)):
        raise BadFileError(path, msg("does not have every byte"), hint=msg("pull the model again"))
    return ranks


def _parts(ranks: Mapping[bytes, int], token: bytes, rank: int) -> Sequence[bytes]:
    """What is left of a token's bytes when all are merged that have a lower rank."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        best, place = rank, -1
        for i in range(len(parts) - 1):
            found = ranks.get(parts[i] + parts[i + 1], rank)
            if found < best:
                best, place = found, i
        if place < 0:
            break
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts


def byte_letters() -> Sequence[str]:
    """GPT-2's letter for each byte: itself where it is printable, else one from 256 up."""
    shown = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = iter(range(0x100, 0x200))
    return [chr(byte if byte in shown else next(hidden)) for byte in range(256)]
