"""The files of a checkpoint that describe its tokenizer, each read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from localq.errors import BadFileError
from localq.formats.json_file import read_json_object

__all__ = ["TokenizerFiles"]

_MAX_TEXT_BYTES = 16 << 20


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
        return self._json(self.tokenizer_json_path)

    @cached_property
    def tokenizer_config(self) -> dict[str, Any] | None:
        return self._json(self.tokenizer_config_path)

    @cached_property
    def added_tokens_json(self) -> dict[str, Any]:
        return self._json(self.root / "added_tokens.json") or {}

    @cached_property
    def added_tokens(self) -> Mapping[int, Mapping[str, Any]]:
        """`added_tokens_decoder` of tokenizer_config.json by token id."""
        decoder = (self.tokenizer_config or {}).get("added_tokens_decoder", {})
        if not isinstance(decoder, dict):
            raise BadFileError(self.tokenizer_config_path, "added_tokens_decoder is not an object")
        tokens: dict[int, Mapping[str, Any]] = {}
        for key, entry in decoder.items():
            if not (
                key.isdecimal()
                and len(key) < 10
                and isinstance(entry, dict)
                and isinstance(entry.get("content"), str)
            ):
                raise BadFileError(
                    self.tokenizer_config_path, f"malformed added token {key[:50]!r}"
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
        jinja = self._text(self.root / "chat_template.jinja")
        if jinja is not None:
            more = sorted((self.root / "additional_chat_templates").glob("*.jinja"))
            if not more:
                return jinja
            named = [{"name": path.stem, "template": self._text(path)} for path in more]
            return [{"name": "default", "template": jinja}, *named]
        beside = (self._json(self.root / "chat_template.json") or {}).get("chat_template")
        return beside if isinstance(beside, str | list) else None

    def _json(self, path: Path) -> dict[str, Any] | None:
        return read_json_object(path) if path.is_file() else None

    def _text(self, path: Path) -> str | None:
        if not path.is_file():
            return None
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_TEXT_BYTES + 1)
            if len(data) > _MAX_TEXT_BYTES:
                raise BadFileError(path, f"longer than {_MAX_TEXT_BYTES:,} bytes")
            # Text mode would do the same: files made on Windows end their lines with CR LF.
            return data.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError as error:
            raise BadFileError(path, "not valid UTF-8", offset=error.start) from None
