"""Small random-weight checkpoints in the Hugging Face layout, the same bytes on every machine.

The configurations are those of published models with only the sizes shrunk, so a converter meets
the fields it will meet in the wild. Nothing here needs torch.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from hashlib import sha256
from itertools import pairwise
from math import log
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "LLAMA2_CONFIG",
    "LLAMA32_CONFIG",
    "LLAMA32_GENERATION_CONFIG",
    "SMOLLM2_CONFIG",
    "bf16_bytes",
    "copy_files",
    "read_safetensors",
    "to_bf16_checkpoint",
    "write_json",
    "write_llama_checkpoint",
    "write_safetensors",
    "write_weights",
]

RawTensor: TypeAlias = tuple[str, tuple[int, ...], bytes]
"""A safetensors dtype name such as "BF16", the shape, the little-endian bytes."""

FloatArray: TypeAlias = npt.NDArray[np.float32]

SMOLLM2_CONFIG: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 192,
    "initializer_range": 0.041666666666666664,
    "intermediate_size": 512,
    "is_llama_config": True,
    "max_position_embeddings": 8192,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 6,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "pad_token_id": 2,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_interleaved": False,
    "rope_scaling": None,
    "rope_theta": 100000,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16", "fp16": "float16"}},
    "transformers_version": "4.42.3",
    "use_cache": True,
    "vocab_size": 49152,
}
"""HuggingFaceTB/SmolLM2-135M-Instruct: tied, and a vocabulary size the converter singles out."""

LLAMA32_CONFIG: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009],
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 128,
    "initializer_range": 0.02,
    "intermediate_size": 512,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.45.0.dev0",
    "use_cache": True,
    "vocab_size": 128256,
}
"""meta-llama/Llama-3.2-1B-Instruct: rope scaling by factors, several end tokens."""

LLAMA32_GENERATION_CONFIG: Mapping[str, Any] = {
    "bos_token_id": 128000,
    "do_sample": True,
    "eos_token_id": [128001, 128008, 128009],
    "temperature": 0.6,
    "top_p": 0.9,
    "transformers_version": "4.45.0.dev0",
}
"""The sampling defaults published beside `LLAMA32_CONFIG`."""

LLAMA2_CONFIG: Mapping[str, Any] = {
    "_name_or_path": "meta-llama/Llama-2-7b-hf",
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 768,
    "max_position_embeddings": 4096,
    "model_type": "llama",
    "num_attention_heads": 8,
    "num_hidden_layers": 4,
    "num_key_value_heads": 8,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "transformers_version": "4.31.0.dev0",
    "use_cache": True,
    "vocab_size": 32000,
}
"""meta-llama/Llama-2-7b-hf: untied, no grouped heads, no rope_theta, rows fit for K-quants."""

_EMBEDDINGS = "model.embed_tokens.weight"
_UNUSED_ROWS = 8
_TOKENIZER_FILES = (
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "generation_config.json",
)


def bf16_bytes(values: npt.ArrayLike) -> bytes:
    """The values as little-endian bfloat16, rounded to nearest even; NaN stays NaN."""
    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4")
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    quiet_nan = (bits >> 16) | 0x40
    is_nan = (bits & 0x7FFFFFFF) > 0x7F800000
    return np.where(is_nan, quiet_nan, rounded).astype("<u2").tobytes()


def write_safetensors(
    path: Path,
    tensors: Mapping[str, RawTensor],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a safetensors file, the tensors in the mapping's order.

    Raises ValueError if a tensor's bytes do not fill its shape.
    """
    header: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    offset = 0
    for name, (dtype, shape, data) in tensors.items():
        if len(data) != int(np.prod(shape, dtype=np.int64)) * _DTYPE_BYTES[dtype]:
            raise ValueError(f"{name}: {len(data)} bytes do not make {dtype} {list(shape)}")
        end = offset + len(data)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for _, _, data in tensors.values():
            file.write(data)


def read_safetensors(path: Path) -> dict[str, RawTensor]:
    """All tensors of a safetensors file, in the header's order."""
    blob = path.read_bytes()
    start = 8 + int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8:start])
    header.pop("__metadata__", None)
    return {
        name: (
            entry["dtype"],
            tuple(entry["shape"]),
            blob[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]],
        )
        for name, entry in header.items()
    }


def write_llama_checkpoint(
    root: Path,
    *,
    config: Mapping[str, Any],
    dtype: str = "BF16",
    seed: int = 0,
    shards: int = 1,
    tokenizer_from: Path | None = None,
    generation_config: Mapping[str, Any] | None = None,
) -> Path:
    """Make a Llama checkpoint with random weights in the new or existing folder `root`.

    `dtype` is "BF16", "F16" or "F32" for every tensor. The tokenizer's files, and its
    generation_config.json if it has one, come from the folder `tokenizer_from`. The bytes depend
    on the arguments alone. Returns `root`.
    """
    root.mkdir(parents=True, exist_ok=True)
    write_json(root / "config.json", config)
    if tokenizer_from is not None:
        copy_files(tokenizer_from, root, _TOKENIZER_FILES)
    if generation_config is not None:
        write_json(root / "generation_config.json", generation_config)
    write_weights(root, _llama_shapes(config), dtype=lambda _: dtype, seed=seed, shards=shards)
    return root


def to_bf16_checkpoint(source: Path, root: Path) -> Path:
    """Copy a one-file float32 checkpoint to the folder `root`, its weights rounded to bfloat16."""
    root.mkdir(parents=True, exist_ok=True)
    copy_files(source, root, _TOKENIZER_FILES)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    write_json(root / "config.json", config | {"dtype": "bfloat16"})
    tensors: dict[str, RawTensor] = {
        name: ("BF16", shape, bf16_bytes(np.frombuffer(data, dtype="<f4")))
        for name, (_, shape, data) in read_safetensors(source / "model.safetensors").items()
    }
    write_safetensors(root / "model.safetensors", tensors, {"format": "pt"})
    return root


_F8_E4M3 = np.array(
    [(m / 8 if e == 0 else 1 + m / 8) * 2.0 ** (max(e, 1) - 7) for e in range(16) for m in range(8)]
)[:126]
"""All sizes of 8-bit floats but the two largest, by their bits."""
_DTYPE_BYTES = {
    **{"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1},
    **{"I8": 1, "U8": 1, "I32": 4, "I64": 8},
}


def _encode(values: FloatArray, dtype: str) -> bytes:
    if dtype == "BF16":
        return bf16_bytes(values)
    if dtype == "F8_E4M3":
        sizes = np.searchsorted(_F8_E4M3, np.abs(values))
        return (sizes | np.where(values < 0, 0x80, 0)).astype("u1").tobytes()
    return values.astype({"F16": "<f2", "F32": "<f4"}[dtype]).tobytes()


def _stored(name: str, values: FloatArray, dtype: str) -> bytes:
    """Bytes of MXFP4 are any, its factors near 2^-7."""
    if dtype != "U8":
        return _encode(values, dtype)
    words = np.ascontiguousarray(values, "<f4").view("<u4") >> 8
    return (118 + words % 4 if name.endswith("_scales") else words & 255).astype("u1").tobytes()


def _llama_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Tensor shapes by name, in the order in which the model declares its modules."""
    hidden, inner = int(config["hidden_size"]), int(config["intermediate_size"])
    heads, kv_heads = int(config["num_attention_heads"]), int(config["num_key_value_heads"])
    head_dim = int(config.get("head_dim") or hidden // heads)
    vocabulary = (int(config["vocab_size"]), hidden)
    layer: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj.weight": (heads * head_dim, hidden),
        "self_attn.k_proj.weight": (kv_heads * head_dim, hidden),
        "self_attn.v_proj.weight": (kv_heads * head_dim, hidden),
        "self_attn.o_proj.weight": (hidden, heads * head_dim),
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
    }
    shapes: dict[str, tuple[int, ...]] = {_EMBEDDINGS: vocabulary}
    for index in range(int(config["num_hidden_layers"])):
        shapes |= {f"model.layers.{index}.{name}": shape for name, shape in layer.items()}
    shapes["model.norm.weight"] = (hidden,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = vocabulary
    return shapes


def _usual_spread(shape: tuple[int, ...]) -> tuple[float, float]:
    return 0.02, 0.3


def _random_weights(
    name: str, shape: tuple[int, ...], seed: int, spread: Callable[..., tuple[float, float]]
) -> FloatArray:
    """Bell-shaped values: around 1.0 for norms, else as wide as `spread`, with a few outliers.

    The last embeddings are zero, as those of never trained tokens often are: a quantizer must
    survive blocks without any scale.

    Only the raw words of PCG64 are used: numpy promises that stream, but not the normal
    distribution built on it, and the C library's logarithm may differ between systems.
    """
    if name.endswith(".A_log") and len(shape) == 2:  # as Mamba begins, and hardly leaves
        steps = np.array([log(i + 1) for i in range(shape[1])], np.float32)
        return np.broadcast_to(steps, shape).copy()
    digest = sha256(f"{seed}:{name}".encode()).digest()
    count = int(np.prod(shape, dtype=np.int64))
    words = np.random.PCG64(int.from_bytes(digest, "little")).random_raw(count).astype("<u8")
    sums = words.view("<u2").reshape(count, 4).sum(axis=1, dtype=np.int32)
    bell: FloatArray = (sums - 2 * 65535).astype(np.float32).reshape(shape) / np.float32(37837)
    if len(shape) == 1 and name.endswith((".weight", "scale", ".layer_scalar")):  # a norm
        return np.float32(1) + np.float32(0.1) * bell
    is_outlier = (words % 997 == 0).reshape(shape)
    usual, outlying = spread(shape)
    weights: FloatArray = bell * np.where(is_outlier, np.float32(outlying), np.float32(usual))
    if name == _EMBEDDINGS:
        weights[-_UNUSED_ROWS:] = 0
    return weights


def write_weights(
    root: Path,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    dtype: Callable[[str], str],
    seed: int,
    shards: int,
    spread: Callable[[tuple[int, ...]], tuple[float, float]] = _usual_spread,
) -> None:
    """Write random weights of the `shapes` as safetensors, in one file or in `shards` of them.

    `dtype` is by the tensor's name; `spread` by its shape: the deviation of the usual values and
    that of the few outliers.
    """
    weight_map: dict[str, str] = {}
    total_bytes = 0
    for number, names in enumerate(_split(list(shapes), shards), start=1):
        file_name = _shard_name(number, shards)
        tensors: dict[str, RawTensor] = {
            name: (
                dtype(name),
                shapes[name],
                _stored(name, _random_weights(name, shapes[name], seed, spread), dtype(name)),
            )
            for name in sorted(names)
        }
        write_safetensors(root / file_name, tensors, {"format": "pt"})
        weight_map |= dict.fromkeys(names, file_name)
        total_bytes += sum(len(data) for _, _, data in tensors.values())
    if shards > 1:
        index = {
            "metadata": {"total_size": total_bytes},
            "weight_map": dict(sorted(weight_map.items())),
        }
        write_json(root / "model.safetensors.index.json", index)


def _split(names: list[str], parts: int) -> list[list[str]]:
    """Consecutive runs of nearly equal length."""
    edges = [len(names) * part // parts for part in range(parts + 1)]
    return [names[start:end] for start, end in pairwise(edges)]


def _shard_name(number: int, shards: int) -> str:
    return f"model-{number:05}-of-{shards:05}.safetensors" if shards > 1 else "model.safetensors"


def copy_files(source: Path, target: Path, patterns: tuple[str, ...]) -> None:
    for path in sorted(path for pattern in patterns for path in source.glob(pattern)):
        # Contents only: the source may be read-only, and a mode is not part of a checkpoint.
        shutil.copyfile(path, target / path.name)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8", newline="\n")
