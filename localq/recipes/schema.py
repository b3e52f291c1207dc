"""The JSON schema of recipes, for editors that complete and check TOML."""

from __future__ import annotations

from typing import Any

from localq.formats.types import QuantType, TensorType
from localq.recipes.load import TABLES
from localq.recipes.recipe import WIKITEXT2, Role

__all__ = ["recipe_schema"]

_TEXT = {"type": "string", "minLength": 1}
_NATURAL = {"type": "integer", "minimum": 1}
_N_CTX = {"type": "integer", "minimum": 16, "maximum": 65536, "default": 512}


def recipe_schema() -> dict[str, Any]:
    """A schema of JSON Schema's draft 2020-12."""
    quantize = _table("quantize", required=["type"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "localq recipe",
        "description": "Which model to take, what to make of it, and how good that must be.",
        "type": "object",
        "properties": {
            "model": _table("model", required=["repo"]),
            "quantize": {"oneOf": [quantize, {"type": "array", "items": quantize}]},
            "calibration": _table("calibration", required=["text"]),
            "checks": _table("checks", required=["text"]),
            "plan": _table("plan"),
            "preset": _table("preset"),
        },
        "required": ["model"],
        "additionalProperties": False,
    }


def _table(name: str, required: list[str] | None = None) -> dict[str, Any]:
    keys = _keys()[name]
    return {
        "type": "object",
        "properties": {key: keys[key] for key in TABLES[name]},
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


def _keys() -> dict[str, dict[str, Any]]:
    quants = {"enum": [type_.name.lower() for type_ in QuantType]}
    tensors = {"enum": [type_.name.lower() for type_ in TensorType]}
    text = {**_TEXT, "description": f'A file beside the recipe, or "{WIKITEXT2}".'}
    read = {"text": text, "chunks": _NATURAL, "n_ctx": _N_CTX}
    return {
        "model": {
            "repo": {**_TEXT, "description": "OWNER/NAME of a checkpoint on the Hub."},
            "revision": {**_TEXT, "description": "A branch, tag or commit."},
            **dict.fromkeys(("title", "architecture", "license", "reason"), _TEXT),
            "context": _NATURAL,
            "languages": {"type": "array", "items": _TEXT, "minItems": 1},
            "offered": {"type": "boolean"},
            "memory_gb": _NATURAL,
            "role": {"enum": [role.value for role in Role]},
        },
        "quantize": {
            "type": quants,
            "imatrix": {**_TEXT, "description": "An importance matrix beside the recipe."},
            "output_type": tensors,
            "embedding_type": tensors,
            "pure": {"type": "boolean"},
            "tensor_types": {"type": "object", "additionalProperties": tensors},
        },
        "calibration": {**read, "reader": quants},
        "checks": {
            **read,
            "against": quants,
            "max_perplexity": {"type": "number", "minimum": 1},
            "max_kld": {"type": "number", "minimum": 0},
            "min_agreement": {"type": "number", "minimum": 0, "maximum": 1},
        },
        "plan": {
            "n_ctx": _NATURAL,
            "n_gpu_layers": {"type": "integer", "minimum": -1},
            "type_k": _TEXT,
            "type_v": _TEXT,
        },
        "preset": {
            "system": {"type": "string"},
            "about": {"type": "string"},
            "on_full": {"enum": ["stop", "slide", "summarise"]},
            "sampling": {"type": "object"},
        },
    }
