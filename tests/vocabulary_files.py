"""GGUF files that are all vocabulary: localq's tokenizer fields around a model of zeros."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localq.convert.fields import FieldBuilder
from localq.convert.vocabulary import TokenizerFiles
from localq.convert.vocabulary.choose import write_vocabulary
from localq.formats.json_file import read_json_object
from localq.services.doctor.template import vocabulary_file

__all__ = ["tokenizer_files", "vocabulary_fields", "write_vocabulary_file"]


def tokenizer_files(root: Path, config: Mapping[str, Any] | None = None) -> TokenizerFiles:
    """The folder's tokenizer, with its own config.json if it has one."""
    path = root / "config.json"
    if config is None:
        config = read_json_object(path) if path.is_file() else {}
    return TokenizerFiles(root, config)


def vocabulary_fields(files: TokenizerFiles) -> tuple[FieldBuilder, str | None]:
    """localq's `tokenizer.*` fields for a checkpoint, and its warning."""
    fields = FieldBuilder()
    return fields, write_vocabulary(files, fields)


def write_vocabulary_file(path: Path, files: TokenizerFiles) -> None:
    """The smallest Llama that llama.cpp loads with this vocabulary, under the folder's name."""
    tokenizer, _ = vocabulary_fields(files)
    tokens = tokenizer.get("tokenizer.ggml.tokens")
    assert isinstance(tokens, list)
    vocabulary_file.write_vocabulary_file(path, tokenizer, files.root.name, len(tokens))
