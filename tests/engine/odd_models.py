"""Small random models whose memory is not plain keys and values, as GGUF files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from localq.formats.gguf import Field, TensorLayout, ValueType, encode_header, read_gguf
from localq.formats.types import TensorType

__all__ = ["hybrid_gguf", "recurrent_gguf"]

_EMBD, _LAYERS, _FF = 64, 4, 96
Shape = tuple[int, ...]


def recurrent_gguf(path: Path, vocabulary_of: Path) -> Path:
    """Mamba: every layer is recurrent."""
    inner, state, rank, kernel = 2 * _EMBD, 16, 8, 4
    fields = {
        "ssm.conv_kernel": kernel,
        "ssm.inner_size": inner,
        "ssm.state_size": state,
        "ssm.time_step_rank": rank,
        "feed_forward_length": 0,
        "attention.head_count": 0,
    }

    def layer(name: str) -> Iterator[tuple[str, Shape]]:
        yield f"{name}.attn_norm.weight", (_EMBD,)
        yield f"{name}.ssm_in.weight", (_EMBD, 2 * inner)
        yield f"{name}.ssm_conv1d.weight", (kernel, inner)
        yield f"{name}.ssm_conv1d.bias", (inner,)
        yield f"{name}.ssm_x.weight", (inner, rank + 2 * state)
        yield f"{name}.ssm_dt.weight", (rank, inner)
        yield f"{name}.ssm_dt.bias", (inner,)
        yield f"{name}.ssm_a", (state, inner)
        yield f"{name}.ssm_d", (inner,)
        yield f"{name}.ssm_out.weight", (inner, _EMBD)

    tensors = [pair for i in range(_LAYERS) for pair in layer(f"blk.{i}")]
    return _write(
        path, "mamba", fields, [*tensors, ("output_norm.weight", (_EMBD,))], vocabulary_of
    )


def hybrid_gguf(path: Path, vocabulary_of: Path) -> Path:
    """LFM2: short convolutions, which are recurrent, and attention by turns."""
    fields: dict[str, int | list[int]] = {
        "shortconv.l_cache": 3,
        "feed_forward_length": _FF,
        "attention.head_count": 4,
        "attention.head_count_kv": [0 if i % 2 == 0 else 2 for i in range(_LAYERS)],
        "rope.dimension_count": 16,
    }

    def layer(i: int) -> Iterator[tuple[str, Shape]]:
        name = f"blk.{i}"
        yield f"{name}.attn_norm.weight", (_EMBD,)
        yield f"{name}.ffn_norm.weight", (_EMBD,)
        yield f"{name}.ffn_gate.weight", (_EMBD, _FF)
        yield f"{name}.ffn_down.weight", (_FF, _EMBD)
        yield f"{name}.ffn_up.weight", (_EMBD, _FF)
        if i % 2 == 0:
            yield f"{name}.shortconv.conv.weight", (3, _EMBD)
            yield f"{name}.shortconv.in_proj.weight", (_EMBD, 3 * _EMBD)
            yield f"{name}.shortconv.out_proj.weight", (_EMBD, _EMBD)
        else:
            yield f"{name}.attn_q_norm.weight", (16,)
            yield f"{name}.attn_k_norm.weight", (16,)
            yield f"{name}.attn_q.weight", (_EMBD, _EMBD)
            yield f"{name}.attn_k.weight", (_EMBD, 32)
            yield f"{name}.attn_v.weight", (_EMBD, 32)
            yield f"{name}.attn_output.weight", (_EMBD, _EMBD)

    tensors = [pair for i in range(_LAYERS) for pair in layer(i)]
    return _write(
        path, "lfm2", fields, [*tensors, ("token_embd_norm.weight", (_EMBD,))], vocabulary_of
    )


def _write(
    path: Path,
    architecture: str,
    values: dict[str, int | list[int]] | dict[str, int],
    tensors: list[tuple[str, Shape]],
    vocabulary_of: Path,
) -> Path:
    known = read_gguf(vocabulary_of).fields
    fields = {"general.architecture": Field(ValueType.STRING, architecture)}
    numbers = {"context_length": 4096, "embedding_length": _EMBD, "block_count": _LAYERS, **values}
    for key, value in numbers.items():
        array = ValueType.INT32 if isinstance(value, list) else None
        kind = ValueType.ARRAY if array else ValueType.UINT32
        fields[f"{architecture}.{key}"] = Field(kind, value, array)  # type: ignore[arg-type]
    epsilon = f"{architecture}.attention.layer_norm_rms_epsilon"
    fields[epsilon] = Field(ValueType.FLOAT32, 1e-5)
    fields |= {key: field for key, field in known.items() if key.startswith("tokenizer.ggml")}
    vocabulary = fields["tokenizer.ggml.tokens"].value
    assert isinstance(vocabulary, list)
    tensors = [("token_embd.weight", (_EMBD, len(vocabulary))), *tensors]
    choose = np.random.default_rng(3)
    layouts, data, offset = [], [], 0
    for name, shape in tensors:
        width = shape[0] if len(shape) > 1 else 1
        weights = choose.standard_normal(shape[::-1], np.float32) / np.sqrt(width)
        if name.endswith(("norm.weight", "ssm_d")):
            weights = 1 + 0.1 * weights
        if name.endswith("ssm_a"):
            weights = -np.exp(weights)
        layouts.append(TensorLayout(name, TensorType.F32, shape, offset))
        block = weights.astype("<f4").tobytes()
        block += bytes(-len(block) % 32)
        data.append(block)
        offset += len(block)
    path.write_bytes(encode_header(fields.items(), layouts) + b"".join(data))
    return path
