"""Mistral's own config, params.json, in transformers' words.

Source: llama.cpp `conversion/mistral.py`; vLLM `transformers_utils/configs/mistral.py` names the
same keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localq.errors import UnsupportedError
from localq.formats.json_file import read_json_object
from localq.messages import msg

__all__ = ["MISTRAL_PARAMS", "PARAMS", "read_params"]

PARAMS = "params.json"
MISTRAL_PARAMS = "params.json (Mistral)"
"""What stands for an architecture, which such a file does not name."""

_KEYS: Mapping[str, str] = {
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "hidden_dim": "intermediate_size",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "norm_eps": "rms_norm_eps",
    "max_seq_len": "max_position_embeddings",
    "tied_embeddings": "tie_word_embeddings",
    "vision_encoder": "vision_config",
}
_OTHER_KINDS = ("moe", "quantization", "lora")


def read_params(root: Path) -> dict[str, Any]:
    """What params.json in the folder says, as config.json would; UnsupportedError for a kind of
    model that localq reads in transformers' format only."""
    params = read_json_object(root / PARAMS, max_bytes=1 << 20)
    for key in _OTHER_KINDS:
        if params.get(key) is not None:
            raise UnsupportedError(
                msg("{path}: localq does not know {key!r} in it", path=root / PARAMS, key=key),
                hint=msg("take the same model with config.json and model-*.safetensors"),
            )
    config = {_KEYS.get(key, key): value for key, value in params.items()}
    if "max_position_embeddings" in params:
        config["max_position_embeddings"] = params["max_position_embeddings"]
    return {"tie_word_embeddings": False, **config, "architectures": [MISTRAL_PARAMS]}
