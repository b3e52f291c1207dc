"""Which kind of vocabulary a checkpoint has, and that vocabulary as metadata."""

from __future__ import annotations

import re

from localq.convert.fields import FieldBuilder
from localq.convert.vocabulary.byte_level import write_byte_level
from localq.convert.vocabulary.files import TokenizerFiles
from localq.convert.vocabulary.sentencepiece import adds_space, write_sentencepiece
from localq.convert.vocabulary.sentencepiece_json import (
    adds_space_prefix,
    is_sentencepiece_json,
    write_sentencepiece_json,
)
from localq.convert.vocabulary.steps import steps
from localq.convert.vocabulary.unigram import write_unigram
from localq.convert.vocabulary.wordpiece import write_wordpiece
from localq.errors import NotFoundError
from localq.formats.presence import is_there
from localq.messages import msg

__all__ = ["write_vocabulary"]

_TIKTOKEN_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} \d{1,7}\r?\n")


def write_vocabulary(
    files: TokenizerFiles, fields: FieldBuilder, *, prefix: bool = True
) -> str | None:
    """Write the `tokenizer.*` fields from tokenizer.model, else tokenizer.json.

    `prefix` says whether a tokenizer.model's space before every text is to be told where it is
    not llama.cpp's default; some families tell it by themselves. Returns a warning where one is
    due. Raises NotFoundError where neither file is there.
    """
    if _has_sentencepiece(files):
        warning = write_sentencepiece(files, fields)
        if prefix and not _adds_prefix(files, fields):
            fields.boolean("tokenizer.ggml.add_space_prefix", False)
        _write_scheme(files, fields)
        return warning
    if files.tokenizer_json is None:
        raise NotFoundError(
            msg("{root}: neither tokenizer.model nor tokenizer.json in it", root=files.root),
            hint=msg("pull the model again"),
        )
    model = files.tokenizer_json.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if kind == "Unigram":
        return write_unigram(files, fields)
    if kind == "WordPiece":
        return write_wordpiece(files, fields)
    if is_sentencepiece_json(files):
        warning = write_sentencepiece_json(files, fields)
        _write_scheme(files, fields)
        return warning
    return write_byte_level(files, fields)


def _adds_prefix(files: TokenizerFiles, fields: FieldBuilder) -> bool:
    if is_sentencepiece_json(files):
        # The tokenizer that transformers runs, where the checkpoint has both.
        return adds_space_prefix(files.tokenizer_json or {})
    told = fields.get("tokenizer.ggml.add_space_prefix")
    return adds_space(files) if told is None else bool(told)


def _write_scheme(files: TokenizerFiles, fields: FieldBuilder) -> None:
    """A space before the first word alone is more than llama.cpp can be told. It would put one
    after every special token too, so it is to put none; localq's engine reads the scheme."""
    if fields.get("tokenizer.ggml.model") != "llama" or not _is_first_only(files):
        return
    if fields.get("tokenizer.ggml.add_space_prefix") is not False:
        fields.boolean("tokenizer.ggml.add_space_prefix", False)
        fields.string("tokenizer.ggml.prepend_scheme", "first")


def _is_first_only(files: TokenizerFiles) -> bool:
    if files.tokenizer_json is None:
        # Of a tokenizer.model transformers makes such a tokenizer where it is told to.
        return (files.tokenizer_config or {}).get("legacy") is False
    pre_tokenizers = steps(files.tokenizer_json.get("pre_tokenizer"))
    return any(
        step.get("type") == "Metaspace" and step.get("prepend_scheme") == "first"
        for step in pre_tokenizers
    )


def _has_sentencepiece(files: TokenizerFiles) -> bool:
    """Some checkpoints call a list of tiktoken's ranks tokenizer.model too."""
    path = files.sentencepiece_path
    if not is_there(path):
        return False
    with path.open("rb") as file:
        return _TIKTOKEN_LINE.match(file.readline(4096)) is None
