"""Whole models of a few hundred bytes, for tests that move them about."""

from __future__ import annotations

import json
from pathlib import Path

from localq.formats.gguf import Field, TensorLayout, ValueType, encode_header
from localq.formats.gguf_split import shard_name
from localq.formats.types import TensorType

__all__ = ["checkpoint", "gguf", "split_gguf"]


def gguf(
    path: Path, *, fill: bytes = b"\x01", quant: int = 2, width: int | None = None, **metadata: str
) -> Path:
    """A GGUF of one tensor of 32 Q4_0 weights; `quant` is its file type, `width` what its metadata
    says of the tensor's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {
        "general.architecture": Field(ValueType.STRING, "llama"),
        "general.file_type": Field(ValueType.UINT32, quant),
    }
    if width is not None:
        fields["llama.embedding_length"] = Field(ValueType.UINT32, width)
        fields["llama.vocab_size"] = Field(ValueType.UINT32, 1)
    for key, value in metadata.items():
        fields[f"general.{key}"] = Field(ValueType.STRING, value)
    tensor = TensorLayout("token_embd.weight", TensorType.Q4_0, (32,), 0)
    path.write_bytes(encode_header(fields.items(), [tensor]) + fill * 18)
    return path


def split_gguf(folder: Path, stem: str, count: int = 2) -> list[Path]:
    """A model in `count` shards."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        fields = {
            "split.no": Field(ValueType.UINT16, number),
            "split.count": Field(ValueType.UINT16, count),
        }
        if number == 0:
            fields["general.architecture"] = Field(ValueType.STRING, "llama")
            fields["general.file_type"] = Field(ValueType.UINT32, 2)
        tensor = TensorLayout(f"blk.{number}.weight", TensorType.Q4_0, (32,), 0)
        path = folder / shard_name(stem, number + 1, count)
        path.write_bytes(encode_header(fields.items(), [tensor]) + bytes([number]) * 18)
        paths.append(path)
    return paths


def checkpoint(folder: Path) -> Path:
    """A checkpoint with one tensor."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    header = json.dumps(
        {"embed.weight": {"dtype": "BF16", "shape": [2, 4], "data_offsets": [0, 16]}}
    ).encode()
    (folder / "model.safetensors").write_bytes(
        len(header).to_bytes(8, "little") + header + bytes(16)
    )
    return folder
