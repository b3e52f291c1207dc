"""A GGUF that is all vocabulary, so that llama.cpp's tokenizer can be asked without the weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from localq.formats.gguf import Field, TensorLayout, ValueType, align, encode_header
from localq.formats.types import TensorType

__all__ = ["write_vocabulary_file"]

_WIDTH = 32
_MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def write_vocabulary_file(
    path: Path, tokenizer: Iterable[tuple[str, Field]], name: str, n_tokens: int
) -> None:
    """The smallest Llama that llama.cpp loads with these `tokenizer.*` fields. `name` is the
    model's: llama.cpp treats the tokens of some names differently."""
    u32 = {
        "llama.block_count": 1,
        "llama.context_length": 512,
        "llama.embedding_length": _WIDTH,
        "llama.feed_forward_length": _WIDTH,
        "llama.attention.head_count": 1,
    }
    fields = [
        ("general.architecture", Field(ValueType.STRING, "llama")),
        ("general.name", Field(ValueType.STRING, name)),
        *((key, Field(ValueType.UINT32, value)) for key, value in u32.items()),
        ("llama.attention.layer_norm_rms_epsilon", Field(ValueType.FLOAT32, 1e-5)),
        *tokenizer,
    ]
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (_WIDTH, n_tokens)}
    for norm in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        shapes[f"{norm}.weight"] = (_WIDTH,)
    for matrix in _MATRICES:
        shapes[f"blk.0.{matrix}.weight"] = (_WIDTH, _WIDTH)
    layouts: list[TensorLayout] = []
    end = 0
    for tensor, shape in shapes.items():
        type_ = TensorType.F32 if len(shape) == 1 else TensorType.Q4_0
        layouts.append(TensorLayout(tensor, type_, shape, end))
        end = align(end + type_.row_bytes(_WIDTH) * (shape[1] if len(shape) > 1 else 1))
    header = encode_header(fields, layouts)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + end)
