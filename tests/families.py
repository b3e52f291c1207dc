"""Small random-weight checkpoints of every model family, from `tests/data/families/<case>.json`.

Those files hold a config, a tokenizer's name and the tensors' shapes; they were made by
`tests/reference/make_families.py`, which asked transformers. Nothing here needs torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from tests.checkpoints import copy_files, write_json, write_weights
from tests.tekken_tokenizer import KIMI_CONFIG, make_tekken, write_ranks_file

__all__ = ["FAMILIES", "Family", "read_family", "write_family"]

FAMILIES = Path(__file__).parent / "data" / "families"

_FILES = (
    *("tokenizer*.json", "tokenizer.model", "special_tokens_map.json", "generation_config.json"),
    *("added_tokens.json", "vocab.json", "merges.txt", "vocab.txt", "chat_template*"),
)


@dataclass(frozen=True)
class Family:
    """One case as it is recorded; shapes have the slowest dimension first."""

    name: str
    config: Mapping[str, Any]
    tokenizer: str | None
    dtype: str
    shards: int
    tensors: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    added_tokens: Sequence[str]
    files: Mapping[str, Any]
    own: bool = False
    """Saved as Mistral saves its models."""

    @property
    def config_name(self) -> str:
        return "params.json" if self.own else "config.json"

    @property
    def weights_stem(self) -> str:
        return "consolidated" if self.own else "model"


def read_family(case: str, folder: Path = FAMILIES) -> Family:
    record = json.loads((folder / f"{case}.json").read_text(encoding="utf-8"))
    return Family(
        case,
        record["config"],
        record["tokenizer"],
        record["dtype"],
        record.get("shards", 1),
        {name: tuple(shape) for name, shape in record["tensors"].items()},
        record.get("dtypes", {}),
        record.get("added_tokens", ()),
        record.get("files", {}),
        record.get("own", False),
    )


def write_family(
    root: Path, case: str, material: Path, *, seed: int = 0, folder: Path = FAMILIES
) -> Path:
    """Make the checkpoint in the new or existing folder `root`; returns `root`.

    The weights are such that attention and experts really choose: matrices keep the size of what
    goes through them, so that a wrong rotation or scale changes the logits.
    """
    family = read_family(case, folder)
    root.mkdir(parents=True, exist_ok=True)
    write_json(root / family.config_name, family.config)
    if family.tokenizer == "tekken":
        write_json(root / "tekken.json", make_tekken(material))
    elif family.tokenizer == "kimi":
        write_ranks_file(root / "tiktoken.model", material)
        write_json(root / "tokenizer_config.json", KIMI_CONFIG)
    elif family.tokenizer is not None:
        named = family.tokenizer
        place = named if "/" in named else f"tokenizers/{named}"
        copy_files(material / place, root, _FILES)

    for path, content in family.files.items():
        (root / path).parent.mkdir(exist_ok=True)
        write_json(root / path, content)
    if family.added_tokens:
        _add_tokens(root / "tokenizer.json", family.added_tokens)

    def spread(shape: tuple[int, ...]) -> tuple[float, float]:
        usual = 1 / sqrt(shape[-1]) if len(shape) > 1 else 0.1
        return usual, 4 * usual

    def dtype(name: str) -> str:
        return next((d for end, d in family.dtypes.items() if name.endswith(end)), family.dtype)

    write_weights(root, family.tensors, dtype=dtype, seed=seed, shards=family.shards, spread=spread)
    if family.own:
        (root / "model.safetensors").rename(root / "consolidated.safetensors")
    return root


def _add_tokens(path: Path, texts: Sequence[str]) -> None:
    """Give a tokenizer.json special tokens that it has not, after all others."""
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    known = {token["content"] for token in tokenizer["added_tokens"]}
    first = len(tokenizer["model"]["vocab"].keys() | known)
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    tokenizer["added_tokens"] += [
        {"id": first + i, "content": text, **flags, "special": True} for i, text in enumerate(texts)
    ]
    write_json(path, tokenizer)
