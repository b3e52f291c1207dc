"""What a table of model families holds: a published model's config in a small size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["DEMO", "DEMO_IDS", "GPT2_IDS", "FamilyCase"]

DEMO = "models/stories260K-hf"
"""A tokenizer of 512 pieces in the test material."""

DEMO_IDS = {"bos_token_id": 1, "eos_token_id": 2, "vocab_size": 512}
GPT2_IDS = {"bos_token_id": 50256, "eos_token_id": 50256, "vocab_size": 50257}


@dataclass(frozen=True)
class FamilyCase:
    """`config` is the published config.json, only sizes shrunk.

    `tokenizer` is a folder of the test material: "qwen2.5" under its `tokenizers`, or a path such
    as "models/stories260K-hf"; None leaves the checkpoint without one. `tensors` names the shapes
    where transformers has no such model; else it is asked. `rename` gives the name under which
    the published checkpoints hold a tensor, or None for one they leave out; `more` are tensors
    that they hold and transformers does not load. `dtypes` are those of
    tensors that are not in `dtype`, by a suffix of their names. `added_tokens` are special tokens
    that the tokenizer gets besides its own, `files` further JSON files by their paths. `own`:
    saved as Mistral saves its models, `config` being params.json.
    """

    name: str
    config: Mapping[str, Any]
    tokenizer: str | None
    dtype: str = "BF16"
    shards: int = 1
    auto: str = "AutoModelForCausalLM"
    tensors: Mapping[str, Sequence[int]] | None = None
    rename: Callable[[str], str | None] | None = None
    more: Mapping[str, Sequence[int]] = field(default_factory=dict)
    dtypes: Mapping[str, str] = field(default_factory=dict)
    added_tokens: Sequence[str] = ()
    files: Mapping[str, Any] = field(default_factory=dict)
    own: bool = False
