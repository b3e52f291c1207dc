"""The files of a checkpoint that describe its tokenizer, each read once."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from localq.convert.vocabulary.sentencepiece_model import SentencePieceTraits, read_traits
from localq.convert.vocabulary.vocab_and_merges import tokenizer_of_files
from localq.errors import BadFileError
from localq.formats.json_file import read_json_object
from localq.formats.presence import is_there
from localq.messages import msg

__all__ = ["TokenizerFiles"]

_MAX_TEXT_BYTES = 16 << 20
_MAX_JSON_BYTES = 256 << 20


_LONE_SURROGATES = re.compile(rb"\\u[dD][89a-fA-F]")
"""What they look like; whole pairs look so too."""


@dataclass(frozen=True)
class TokenizerFiles:
    """`config` is the model's config.json; a file that is not there reads as None."""

    root: Path
    config: Mapping[str, Any]

    @property
    def sentencepiece_path(self) -> Path:
        return self.root / "tokenizer.model"

    @property
    def tokenizer_json_path(self) -> Path:
        return self.root / "tokenizer.json"

    @property
    def tokenizer_config_path(self) -> Path:
        return self.root / "tokenizer_config.json"

    @cached_property
    def tokenizer_json(self) -> dict[str, Any] | None:
        """The file, or what it would be where vocab.json and merges.txt are there alone."""
        found = self.read_json(self.tokenizer_json_path)
        if found is None and not is_there(self.sentencepiece_path):
            found = tokenizer_of_files(self)
        return found

    def tokenizer_text(self) -> str:
        """`tokenizer_json` as a text."""
        if is_there(self.tokenizer_json_path):
            return self.read_text(self.tokenizer_json_path)
        return json.dumps(self.tokenizer_json)

    @cached_property
    def sentencepiece_traits(self) -> SentencePieceTraits:
        """ValueError where tokenizer.model is no SentencePiece model."""
        return read_traits(self.sentencepiece_path.read_bytes())

    @cached_property
    def special_tokens_map(self) -> dict[str, Any] | None:
        return self.read_json(self.root / "special_tokens_map.json")

    @cached_property
    def tokenizer_config(self) -> dict[str, Any] | None:
        return self.read_json(self.tokenizer_config_path)

    @cached_property
    def generation_config(self) -> dict[str, Any]:
        return self.read_json(self.root / "generation_config.json") or {}

    @cached_property
    def added_tokens_json(self) -> dict[str, Any]:
        return self.read_json(self.root / "added_tokens.json") or {}

    @cached_property
    def added_tokens(self) -> Mapping[int, Mapping[str, Any]]:
        """`added_tokens_decoder` of tokenizer_config.json by token id."""
        decoder = (self.tokenizer_config or {}).get("added_tokens_decoder", {})
        if not isinstance(decoder, dict):
            raise BadFileError(
                self.tokenizer_config_path, msg("added_tokens_decoder is not an object")
            )
        tokens: dict[int, Mapping[str, Any]] = {}
        for key, entry in decoder.items():
            if not (
                key.isdecimal()
                and len(key) < 10
                and isinstance(entry, dict)
                and isinstance(entry.get("content"), str)
            ):
                raise BadFileError(
                    self.tokenizer_config_path, msg("malformed added token {key!r}", key=key[:50])
                )
            tokens[int(key)] = entry
        return tokens

    def chat_template(self) -> str | list[Any] | None:
        """The chat template as tokenizer_config.json or the files beside it give it.

        A list holds {"name", "template"} objects. The precedence is that of llama.cpp's gguf-py.
        """
        inline = (self.tokenizer_config or {}).get("chat_template")
        if isinstance(inline, str | list):
            return inline
        jinja = self.text_of(self.root / "chat_template.jinja")
        if jinja is not None:
            more = sorted((self.root / "additional_chat_templates").glob("*.jinja"))
            if not more:
                return jinja
            named = [{"name": path.stem, "template": self.text_of(path)} for path in more]
            return [{"name": "default", "template": jinja}, *named]
        beside = (self.read_json(self.root / "chat_template.json") or {}).get("chat_template")
        return beside if isinstance(beside, str | list) else None

    def read_json(self, path: Path) -> dict[str, Any] | None:
        """A JSON object; None where there is no such file."""
        if not is_there(path):
            return None
        value = read_json_object(path)
        if _LONE_SURROGATES.search(path.read_bytes()):
            _refuse_lone_surrogates(path, value)
        return value

    def text_of(self, path: Path) -> str | None:
        """A text, its line ends as Unix has them; None where there is no such file."""
        if not is_there(path):
            return None
        # Text mode would do the same: files made on Windows end their lines with CR LF.
        text = self.read_text(path, max_bytes=_MAX_TEXT_BYTES)
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def read_text(self, path: Path, *, max_bytes: int = _MAX_JSON_BYTES) -> str:
        """A whole text file, its line ends as they are."""
        try:
            with path.open("rb") as file:
                data = file.read(max_bytes + 1)
        except OSError as error:
            raise BadFileError(
                path, msg("cannot be read: {strerror}", strerror=error.strerror or error)
            ) from error
        if len(data) > max_bytes:
            raise BadFileError(path, msg("longer than {max_bytes:,} bytes", max_bytes=max_bytes))
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadFileError(path, msg("not valid UTF-8"), offset=error.start) from None


def _refuse_lone_surrogates(path: Path, value: object) -> None:
    """JSON can write halves of characters, which no text in a GGUF can hold."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            waiting += item
        elif isinstance(item, str):
            try:
                item.encode()
            except UnicodeEncodeError:
                raise BadFileError(path, msg("a text in it is not valid Unicode")) from None
