"""Tiny projectors with random weights, and pictures for them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from localq.formats.gguf import Field, Plain, TensorLayout, ValueType, encode_header
from localq.formats.types import TensorType

__all__ = ["png", "write_projector"]

_HEADS, _WIDTH, _LAYERS, _PATCH = 2, 32, 2, 14


def write_projector(
    path: Path,
    width: int,
    *,
    kind: str = "mlp",
    image_size: int = 56,
    seed: int = 0,
    vision: bool = True,
) -> Path:
    """A projector for a model whose embeddings have `width` numbers. `kind`: mlp (LLaVA; one
    token a patch), gemma3 (all of a picture in one batch), qwen2vl_merger (M-RoPE)."""
    random = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}

    def add(name: str, *shape: int, around: float = 0.0) -> None:
        spread = 0.02 if around else (shape[-1] ** -0.5 if len(shape) > 1 else 0.1)
        tensors[name] = (random.normal(around, spread, shape)).astype(np.float32)

    patches = (image_size // _PATCH) ** 2
    add("v.patch_embd.weight", _WIDTH, 3, _PATCH, _PATCH)
    if kind == "qwen2vl_merger":
        add("v.patch_embd.weight.1", _WIDTH, 3, _PATCH, _PATCH)
        wide = 4 * _WIDTH
        add("v.post_ln.weight", _WIDTH, around=1)
        add("v.post_ln.bias", _WIDTH)
        add("mm.0.weight", wide, wide)
        add("mm.0.bias", wide)
        add("mm.2.weight", width, wide)
        add("mm.2.bias", width)
    else:
        add("v.position_embd.weight", patches, _WIDTH)
    if kind == "mlp":
        add("mm.0.weight", width, _WIDTH)
        add("mm.0.bias", width)
        add("mm.2.weight", width, width)
        add("mm.2.bias", width)
    if kind == "gemma3":
        add("v.post_ln.weight", _WIDTH, around=1)
        add("v.post_ln.bias", _WIDTH)
        add("mm.input_projection.weight", _WIDTH, width)
        add("mm.soft_emb_norm.weight", _WIDTH, around=1)
    for layer in range(_LAYERS):
        block = f"v.blk.{layer}"
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            add(f"{block}.{name}.weight", _WIDTH, _WIDTH)
            add(f"{block}.{name}.bias", _WIDTH)
        for name in ("ln1", "ln2"):
            add(f"{block}.{name}.weight", _WIDTH, around=1)
            add(f"{block}.{name}.bias", _WIDTH)
        add(f"{block}.ffn_up.weight", 2 * _WIDTH, _WIDTH)
        add(f"{block}.ffn_up.bias", 2 * _WIDTH)
        add(f"{block}.ffn_down.weight", _WIDTH, 2 * _WIDTH)
        add(f"{block}.ffn_down.bias", _WIDTH)
    mean: Plain = [0.5, 0.5, 0.5]
    fields = {
        "general.architecture": Field(ValueType.STRING, "clip"),
        "general.type": Field(ValueType.STRING, "mmproj"),
        "general.file_type": Field(ValueType.UINT32, 0),
        "clip.has_vision_encoder": Field(ValueType.BOOL, vision),
        "clip.projector_type": Field(ValueType.STRING, kind),
        "clip.use_gelu": Field(ValueType.BOOL, True),
        "clip.vision.image_size": Field(ValueType.UINT32, image_size),
        "clip.vision.patch_size": Field(ValueType.UINT32, _PATCH),
        "clip.vision.embedding_length": Field(ValueType.UINT32, _WIDTH),
        "clip.vision.feed_forward_length": Field(ValueType.UINT32, 2 * _WIDTH),
        "clip.vision.projection_dim": Field(ValueType.UINT32, width),
        "clip.vision.block_count": Field(ValueType.UINT32, _LAYERS),
        "clip.vision.attention.head_count": Field(ValueType.UINT32, _HEADS),
        "clip.vision.attention.layer_norm_epsilon": Field(ValueType.FLOAT32, 1e-5),
        "clip.vision.image_mean": Field(ValueType.ARRAY, mean, ValueType.FLOAT32),
        "clip.vision.image_std": Field(ValueType.ARRAY, mean, ValueType.FLOAT32),
    }
    layouts, data, offset = [], b"", 0
    for name, values in tensors.items():
        type_ = TensorType.F32
        layouts.append(TensorLayout(name, type_, tuple(reversed(values.shape)), offset))
        raw = values.tobytes()
        raw += bytes(-len(raw) % 32)
        data += raw
        offset += len(raw)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_header(fields.items(), layouts) + data)
    return path


def png(width: int = 60, height: int = 40, seed: int = 0) -> bytes:
    """A picture of coloured noise over a slope."""
    random = np.random.default_rng(seed)
    slope = np.linspace(0, 255, width)[None, :, None] * random.random(3)
    noise = random.integers(0, 60, (height, width, 3))
    pixels = np.clip(slope + noise, 0, 255).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        ]
    )
