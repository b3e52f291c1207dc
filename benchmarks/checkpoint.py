"""Makes a random Llama checkpoint of any size in bf16, without torch and in little memory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from localq.quantize.imatrix import write_imatrix

__all__ = ["make_checkpoint", "make_imatrix"]

_HIDDEN, _INTERMEDIATE, _HEADS, _KV_HEADS, _VOCABULARY = 2048, 5632, 32, 4, 32000
_LAYER_PARAMETERS = (
    2 * _HIDDEN * _HIDDEN
    + 2 * _HIDDEN * (_HIDDEN // _HEADS * _KV_HEADS)
    + 3 * _HIDDEN * _INTERMEDIATE
    + 2 * _HIDDEN
)
_OF_HIDDEN = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up")
_CHUNK = 1 << 22


def make_checkpoint(root: Path, billions: float, tokenizer: Path) -> int:
    """Write a checkpoint of about `billions` parameters to `root`; returns the exact number.

    `tokenizer` is a folder with a tokenizer.model of 32,000 tokens.
    """
    embeddings = 2 * _VOCABULARY * _HIDDEN + _HIDDEN
    layers = max(1, round((billions * 1e9 - embeddings) / _LAYER_PARAMETERS))
    root.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(tokenizer / name, root / name)
    (root / "config.json").write_text(json.dumps(_config(layers), indent=2))
    shapes = _shapes(layers)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in shapes.items():
        nbytes = 2 * int(np.prod(shape))
        header[name] = {
            "dtype": "BF16",
            "shape": list(shape),
            "data_offsets": [offset, offset + nbytes],
        }
        offset += nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = np.random.default_rng(0)
    with (root / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for shape in shapes.values():
            left = int(np.prod(shape))
            while left:
                count = min(left, _CHUNK)
                values = random.standard_normal(count, np.float32) * np.float32(0.02)
                file.write((values.view(np.uint32) >> 16).astype("<u2").tobytes())
                left -= count
    return offset // 2


def make_imatrix(checkpoint: Path, path: Path) -> Path:
    """Write a random importance matrix for a checkpoint of `make_checkpoint`; returns `path`."""
    layers = json.loads((checkpoint / "config.json").read_text())["num_hidden_layers"]
    random = np.random.default_rng(1)
    widths = {"output.weight": _HIDDEN}
    for i in range(layers):
        widths |= {f"blk.{i}.{name}.weight": _HIDDEN for name in _OF_HIDDEN}
        widths[f"blk.{i}.ffn_down.weight"] = _INTERMEDIATE
    sums = {
        name: (np.exp(2 * random.standard_normal(width, np.float32)), np.ones(1, np.int64))
        for name, width in widths.items()
    }
    write_imatrix(path, sums, datasets=["random"], chunk_count=1, chunk_size=512)
    return path


def _config(layers: int) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": _HIDDEN,
        "intermediate_size": _INTERMEDIATE,
        "num_hidden_layers": layers,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _KV_HEADS,
        "vocab_size": _VOCABULARY,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }


def _shapes(layers: int) -> dict[str, tuple[int, ...]]:
    kv = _HIDDEN // _HEADS * _KV_HEADS
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (_VOCABULARY, _HIDDEN)}
    for i in range(layers):
        layer = f"model.layers.{i}."
        shapes |= {
            layer + "self_attn.q_proj.weight": (_HIDDEN, _HIDDEN),
            layer + "self_attn.k_proj.weight": (kv, _HIDDEN),
            layer + "self_attn.v_proj.weight": (kv, _HIDDEN),
            layer + "self_attn.o_proj.weight": (_HIDDEN, _HIDDEN),
            layer + "mlp.gate_proj.weight": (_INTERMEDIATE, _HIDDEN),
            layer + "mlp.up_proj.weight": (_INTERMEDIATE, _HIDDEN),
            layer + "mlp.down_proj.weight": (_HIDDEN, _INTERMEDIATE),
            layer + "input_layernorm.weight": (_HIDDEN,),
            layer + "post_attention_layernorm.weight": (_HIDDEN,),
        }
    return shapes | {"model.norm.weight": (_HIDDEN,), "lm_head.weight": (_VOCABULARY, _HIDDEN)}
