"""Make the engine's canary: a model of random weights, and the logits it must give.

    .venv/bin/python -m tests.reference.make_canary

The model is a Llama of two layers whose rows are multiples of 256, so that no K type falls back
to another. The logits are computed here, in float64, from the weights as gguf's own Python code
dequantizes them: no kernel of llama.cpp has a part in them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType as Type

from localq.engine import canary
from localq.formats.types import TensorType
from localq.quantize.native import load_codecs

__all__ = ["FOLDER", "TOKENS", "logits", "main", "weights"]

Floats = npt.NDArray[np.float64]

FOLDER = Path(canary.__file__).parent
TOKENS = 40
_VOCABULARY = 256
_WIDTH, _HIDDEN, _HEADS, _KV_HEADS, _HEAD = 256, 512, 4, 2, 64
_EPSILON, _ROPE_BASE = 1e-5, 10000.0
_TYPES = {
    "token_embd": Type.Q8_0,
    "blk.0.attn_q": Type.Q4_0,
    "blk.0.attn_k": Type.F32,
    "blk.0.attn_v": Type.Q8_0,
    "blk.0.attn_output": Type.Q4_K,
    "blk.0.ffn_gate": Type.Q6_K,
    "blk.0.ffn_up": Type.Q4_0,
    "blk.0.ffn_down": Type.Q4_K,
    "blk.1.attn_q": Type.Q4_K,
    "blk.1.attn_k": Type.Q6_K,
    "blk.1.attn_v": Type.F32,
    "blk.1.attn_output": Type.Q8_0,
    "blk.1.ffn_gate": Type.Q4_K,
    "blk.1.ffn_up": Type.Q8_0,
    "blk.1.ffn_down": Type.Q6_K,
    "output": Type.Q4_0,
}
_ROWS = {
    "token_embd": _VOCABULARY,
    "attn_k": _KV_HEADS * _HEAD,
    "attn_v": _KV_HEADS * _HEAD,
    "ffn_gate": _HIDDEN,
    "ffn_up": _HIDDEN,
    "output": _VOCABULARY,
}


def main() -> None:
    _write_model(FOLDER / "model.gguf")
    rows = logits(weights(FOLDER / "model.gguf"), tokens())
    data = rows.astype("<f4").tobytes()
    (FOLDER / "logits.f32").write_bytes(data)
    assert len(data) == 4 * TOKENS * _VOCABULARY


def tokens() -> list[int]:
    """The tokens that are read, as `localq.engine.canary` has them."""
    return list(canary.TOKENS)


def weights(path: Path) -> dict[str, Floats]:
    """The tensors of a GGUF file by name, without ".weight"."""
    return {
        tensor.name.removesuffix(".weight"): gguf.dequantize(
            tensor.data, tensor.tensor_type
        ).astype(np.float64)
        for tensor in gguf.GGUFReader(path).tensors
    }


def logits(weight: dict[str, Floats], ids: list[int]) -> Floats:
    """The logits after each token, [tokens, vocabulary]: a Llama, written down."""
    x = weight["token_embd"][ids]
    count = len(ids)
    mask = np.triu(np.full((count, count), -np.inf), 1)
    for layer in range(2):
        w = {name.removeprefix(f"blk.{layer}."): value for name, value in weight.items()}
        h = _norm(x, w["attn_norm"])
        q = _rope((h @ w["attn_q"].T).reshape(count, _HEADS, _HEAD))
        k = _rope((h @ w["attn_k"].T).reshape(count, _KV_HEADS, _HEAD))
        v = (h @ w["attn_v"].T).reshape(count, _KV_HEADS, _HEAD)
        k, v = (np.repeat(part, _HEADS // _KV_HEADS, axis=1) for part in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(_HEAD) + mask
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        x = x + np.einsum("hqk,khd->qhd", shares, v).reshape(count, _WIDTH) @ w["attn_output"].T
        h = _norm(x, w["ffn_norm"])
        gate = h @ w["ffn_gate"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ w["ffn_up"].T)) @ w["ffn_down"].T
    result: Floats = _norm(x, weight["output_norm"]) @ weight["output"].T
    return result


def _norm(x: Floats, weight: Floats) -> Floats:
    result: Floats = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + _EPSILON) * weight
    return result


def _rope(x: Floats) -> Floats:
    """Rotated pairs of neighbours, as Llama's GGUF files want it; [tokens, heads, width]."""
    frequency = _ROPE_BASE ** (-np.arange(0, _HEAD, 2) / _HEAD)
    angle = np.arange(len(x))[:, None, None] * frequency
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = (
        even * np.cos(angle) - odd * np.sin(angle),
        even * np.sin(angle) + odd * np.cos(angle),
    )
    return np.stack(turned, axis=-1).reshape(x.shape)


def _write_model(path: Path) -> None:
    random = np.random.default_rng(20)
    codecs = load_codecs()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("canary")
    writer.add_context_length(128)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(2)
    writer.add_feed_forward_length(_HIDDEN)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_KV_HEADS)
    writer.add_layer_norm_rms_eps(_EPSILON)
    writer.add_rope_freq_base(_ROPE_BASE)
    writer.add_rope_dimension_count(_HEAD)
    writer.add_vocab_size(_VOCABULARY)
    writer.add_tokenizer_model("none")
    for norm in ("blk.0.attn_norm", "blk.0.ffn_norm", "blk.1.attn_norm", "blk.1.ffn_norm"):
        writer.add_tensor(f"{norm}.weight", random.uniform(0.5, 1.5, _WIDTH).astype("f4"))
    writer.add_tensor("output_norm.weight", random.uniform(0.5, 1.5, _WIDTH).astype("f4"))
    for name, type_ in _TYPES.items():
        last = name.rpartition(".")[2]
        shape = (_ROWS.get(last, _WIDTH), _HIDDEN if last == "ffn_down" else _WIDTH)
        values = (random.standard_normal(shape) / np.sqrt(shape[1])).astype("f4")
        data: Any = values
        if type_ is not Type.F32:
            room = np.empty(values.nbytes, np.uint8)
            encoded = codecs.encode(TensorType[type_.name], values, room, shape[1])
            data = encoded.reshape(shape[0], -1)
        writer.add_tensor(f"{name}.weight", data, raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
