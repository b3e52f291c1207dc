"""Widens a Llama checkpoint by zeros: a model of many more parameters that says the same.

What is new in each row and column is zero, and the norms' weights are scaled for the longer vector,
so that each new number stays zero and each old one is as it was. What it computes takes as long as
for any model of its size.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

__all__ = ["widen"]


def widen(source: Path, target: Path, *, hidden: int, intermediate: int) -> int:
    """Write a bf16 checkpoint like `source`, which is bf16 too, with these widths to `target`;
    returns the number of parameters. `hidden` is `source`'s times a power of four, so that norms
    are scaled exactly; heads keep their width."""
    target.mkdir(parents=True, exist_ok=True)
    for path in source.glob("*token*"):
        shutil.copy(path, target / path.name)
    config = json.loads((source / "config.json").read_text())
    old, ratio = config["hidden_size"], hidden // config["hidden_size"]
    for name in ("num_attention_heads", "num_key_value_heads"):
        config[name] *= ratio
    # sqrt(mean of squares + eps): with zeros beside them the mean is smaller.
    config |= {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "rms_norm_eps": config["rms_norm_eps"] / ratio,
    }
    (target / "config.json").write_text(json.dumps(config, indent=2))

    with (source / "model.safetensors").open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        old_header = json.loads(file.read(size))
        data = np.fromfile(file, np.uint16)
    old_header.pop("__metadata__", None)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, info in old_header.items():
        shape = _wider(info["shape"], old, ratio, intermediate, config)
        end = offset + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with (target / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, info in old_header.items():
            begin, end = (offset // 2 for offset in info["data_offsets"])
            values = data[begin:end].reshape(info["shape"])
            if name.endswith("norm.weight"):
                exact = (values.astype(np.uint32) << 16).view(np.float32) * np.float32(ratio**-0.5)
                values = (exact.view(np.uint32) >> 16).astype(np.uint16)
            wider = np.zeros(header[name]["shape"], np.uint16)  # type: ignore[index]
            wider[tuple(slice(length) for length in values.shape)] = values
            wider.tofile(file)
    return offset // 2


def _wider(
    shape: list[int], hidden: int, ratio: int, intermediate: int, config: dict[str, int]
) -> list[int]:
    kv = hidden * config["num_key_value_heads"] // config["num_attention_heads"]
    lengths = {hidden: hidden * ratio, kv: kv * ratio, config["vocab_size"]: config["vocab_size"]}
    return [lengths.get(length, intermediate) for length in shape]
