"""GGUF files that are all vocabulary: localq's tokenizer fields around a model of zeros."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localq.convert.fields import FieldBuilder
from localq.convert.vocabulary import TokenizerFiles
from localq.convert.vocabulary.choose import write_vocabulary
from localq.formats.gguf import TensorLayout, align, encode_header
from localq.formats.json_file import read_json_object
from localq.formats.types import TensorType

__all__ = ["tokenizer_files", "vocabulary_fields", "write_vocabulary_file"]

_WIDTH = 32
_MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


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
    fields = FieldBuilder()
    fields.string("general.architecture", "llama")
    fields.string("general.name", files.root.name)
    fields.u32("llama.block_count", 1)
    fields.u32("llama.context_length", 512)
    fields.u32("llama.embedding_length", _WIDTH)
    fields.u32("llama.feed_forward_length", _WIDTH)
    fields.u32("llama.attention.head_count", 1)
    fields.f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    for key, field in tokenizer:
        fields.field(key, field)
    tokens = fields.get("tokenizer.ggml.tokens")
    assert isinstance(tokens, list)

    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (_WIDTH, len(tokens))}
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        shapes[f"{name}.weight"] = (_WIDTH,)
    for name in _MATRICES:
        shapes[f"blk.0.{name}.weight"] = (_WIDTH, _WIDTH)
    layouts: list[TensorLayout] = []
    end = 0
    for name, shape in shapes.items():
        type_ = TensorType.F32 if len(shape) == 1 else TensorType.Q4_0
        layouts.append(TensorLayout(name, type_, shape, end))
        end = align(end + type_.row_bytes(_WIDTH) * (shape[1] if len(shape) > 1 else 1))
    header = encode_header(fields, layouts)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + end)
