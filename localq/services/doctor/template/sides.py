"""The two sides of the comparison: the vocabulary as a GGUF has it, and the checkpoint's own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from localq.errors import BadFileError, NotFoundError, UnsupportedError
from localq.formats.gguf import Field, read_gguf
from localq.formats.json_file import read_json_object
from localq.library import Library
from localq.messages import msg
from localq.services.library.locate import locate_checkpoint_folder, locate_gguf

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from localq.convert.vocabulary import TokenizerFiles

__all__ = ["Checkpoint", "Vocabulary", "find_sides"]

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The `tokenizer.*` metadata of a GGUF."""

    name: str
    fields: Mapping[str, Field]

    @property
    def metadata(self) -> dict[str, object]:
        return {key: field.value for key, field in self.fields.items()}

    @property
    def tokens(self) -> Sequence[str]:
        field = self.fields.get("tokenizer.ggml.tokens")
        value = field.value if field else None
        return [str(token) for token in value] if isinstance(value, list) else []

    @property
    def n_tokens(self) -> int:
        return len(self.tokens)


class Checkpoint:
    """The tokenizer in a checkpoint's folder."""

    def __init__(self, root: Path) -> None:
        from localq.convert.vocabulary import TokenizerFiles

        config = root / "config.json"
        self.root = root
        self.files: TokenizerFiles = TokenizerFiles(
            root, read_json_object(config) if config.is_file() else {}
        )

    @cached_property
    def templates(self) -> dict[str, str]:
        """By name; the default's name is "", as in `own_templates`."""
        given = self.files.chat_template()
        if isinstance(given, str):
            return {"": given}
        found: dict[str, str] = {}
        for entry in given or []:
            if isinstance(entry, dict) and isinstance(entry.get("template"), str):
                name = str(entry.get("name", ""))
                found["" if name == "default" else name] = entry["template"]
        return found

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """Hugging Face's, as tokenizer.json describes it; None without that file."""
        if self.files.tokenizer_json is None:
            return None
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_str(self.files.tokenizer_text())
        except Exception as error:  # it raises nothing more precise
            raise BadFileError(
                self.files.tokenizer_json_path, msg("no tokenizer: {error}", error=error)
            ) from None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def ids(self, text: str, *, add_special_tokens: bool) -> list[int]:
        assert self.tokenizer is not None
        return list(self.tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)

    @cached_property
    def special_tokens(self) -> dict[str, str]:
        """bos_token, eos_token, ... as a template is given them."""
        sources = (self.files.special_tokens_map or {}, self.files.tokenizer_config or {})
        found: dict[str, str] = {}
        for source in sources:
            for key, value in source.items():
                text = value.get("content") if isinstance(value, dict) else value
                if key.endswith("_token") and isinstance(text, str):
                    found[key] = text
        return found


def find_sides(
    library: Library, model: str | None, against: str | None
) -> tuple[Vocabulary, Checkpoint | None]:
    """For a checkpoint: the vocabulary that converting it would give. NotFoundError, BadFileError,
    UnsupportedError."""
    if (folder := _folder(model)) and against is None:
        checkpoint = Checkpoint(folder)
        return _converted(checkpoint), checkpoint
    try:
        found = locate_gguf(library, model)
    except NotFoundError:
        root = locate_checkpoint_folder(library, model)
        checkpoint = Checkpoint(root)
        return _converted(checkpoint), checkpoint
    file = read_gguf(found.path)
    fields = {key: f for key, f in file.fields.items() if key.startswith("tokenizer.")}
    vocabulary = Vocabulary(str(file.metadata.get("general.name", found.name)), fields)
    if not vocabulary.n_tokens:
        raise UnsupportedError(msg("{path}: has no vocabulary", path=found.path))
    return vocabulary, _checkpoint(library, found.name, against)


def _checkpoint(library: Library, name: str, against: str | None) -> Checkpoint | None:
    if against is not None:
        return Checkpoint(_folder(against) or locate_checkpoint_folder(library, against))
    try:
        return Checkpoint(library.find_checkpoint(name).path)
    except NotFoundError:
        return None


def _folder(text: str | None) -> Path | None:
    """The folder that `text` names, if it holds a tokenizer; weights need not be there."""
    if not text or "\0" in text:
        return None
    path = Path(os.path.expanduser(text)).absolute()  # noqa: PTH111 - Path refuses "~nobody"
    return path if any((path / name).is_file() for name in _TOKENIZER_FILES) else None


def _converted(checkpoint: Checkpoint) -> Vocabulary:
    from localq.convert.fields import FieldBuilder
    from localq.convert.vocabulary.choose import write_vocabulary

    builder = FieldBuilder()
    write_vocabulary(checkpoint.files, builder)
    return Vocabulary(checkpoint.root.name, dict(builder))
