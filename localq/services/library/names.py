"""What a model found on disk is called: from its metadata, its file's name, or its folder."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from localq.errors import UsageError
from localq.formats.gguf import GGUFFile
from localq.library.filenames import component_problem, safe_component
from localq.messages import msg

__all__ = ["LOCAL", "parse_name", "quant_of", "repo_of_gguf", "safe_repo"]

LOCAL = "local"
"""Stands for the organisation where none is known."""

_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_QUANT = re.compile(
    r"(?:^|[-._ ])((?:ud-)?(?:iq|tq|q)[1-9][a-z0-9_]*|bf16|f16|f32|fp16|fp32|mxfp4(?:_moe)?)$",
    re.IGNORECASE,
)
_MAX_NAME = 96


def parse_name(text: str) -> tuple[str, str | None]:
    """ORG/NAME or NAME, and what follows a colon; UsageError where it cannot name a model."""
    repo, colon, quant = text.partition(":")
    parts = repo.split("/")
    if len(parts) > 2 or (colon and not quant):
        raise UsageError(
            msg("{text!r} is not a name for a model", text=text[:120]),
            hint=msg("write it as ORG/NAME[:QUANT]"),
        )
    for part in [*parts, *([quant] if colon else [])]:
        safe_component(part)
    return (repo if len(parts) == 2 else f"{LOCAL}/{repo}"), quant or None


def repo_of_gguf(file: GGUFFile, path: Path) -> str:
    """A name in the form org/name.

    The file's own name where it is made as usual (NAME-QUANT.gguf), for that is what its user
    knows; else what the metadata says; else the file's name as it is.
    """
    stem = _SHARD.sub("", path.stem)
    named = _QUANT.sub("", stem)
    organization = _text(file, "general.organization")
    if named == stem:
        parts = [_text(file, f"general.{key}") for key in ("basename", "size_label", "finetune")]
        structured = "-".join(part for part in parts if part) if parts[0] else ""
        named = structured or _text(file, "general.name") or stem
    return f"{_component(organization, LOCAL)}/{_component(named, 'model')}"


def quant_of(file: GGUFFile, path: Path) -> str:
    """What the header says, or the file's name where that is more exact or the header silent."""
    match = _QUANT.search(_SHARD.sub("", path.stem))
    quant = file.quant
    if match is not None and (quant == "unknown" or match[1].upper().startswith("UD-")):
        return match[1].upper()
    return _component(quant, "unknown")


def safe_repo(text: str) -> str:
    """Another program's name for a model as org/name, whatever it holds."""
    first, slash, second = text.partition("/")
    if not slash:
        return f"{LOCAL}/{_component(first, 'model')}"
    return f"{_component(first, LOCAL)}/{_component(second, 'model')}"


def _text(file: GGUFFile, key: str) -> str:
    field = file.fields.get(key)
    return field.value if field is not None and isinstance(field.value, str) else ""


def _component(text: str, otherwise: str) -> str:
    """`text` with what no name may hold taken out; `otherwise` where nothing is left."""
    whole = unicodedata.normalize("NFC", text[: 4 * _MAX_NAME])
    kept = "".join("-" if c in '<>:"/\\|?* \t\n' else c for c in whole)
    kept = "".join(c for c in kept if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp"))
    while len(kept.encode()) > _MAX_NAME:
        kept = kept[:-1]
    kept = re.sub(r"-{2,}", "-", kept).strip("-. ")
    return kept if component_problem(kept) is None else otherwise
