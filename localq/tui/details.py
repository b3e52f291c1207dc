"""A model's details as lines to read. Pure functions of what the service returned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from localq.display import age, byte_size, printable
from localq.tui import strings

if TYPE_CHECKING:
    from localq.library.model import Model
    from localq.services.library.inspect import ModelDetails

__all__ = ["DetailLine", "known_lines", "lines"]

DetailLine = tuple[str, str]
"""A label and its value, both safe to draw."""

_REVISION_DIGITS = 8
_TENSOR_TYPES_SHOWN = 3


def known_lines(model: Model) -> list[DetailLine]:
    """What the catalogue knows: shown at once, while the file is still being read."""
    return [
        (strings.DETAIL_ARCHITECTURE, printable(model.architecture)),
        (strings.DETAIL_PARAMETERS, f"{model.parameters:,}"),
        (strings.DETAIL_SIZE, byte_size(model.size_bytes)),
        *_source(model),
    ]


def lines(details: ModelDetails, now: float) -> list[DetailLine]:
    """Everything; `now` in unix seconds. A checkpoint's configuration says less than a GGUF."""
    model, metadata = details.model, details.metadata
    context = _context(metadata)
    found = [
        (strings.DETAIL_ARCHITECTURE, printable(model.architecture)),
        (strings.DETAIL_PARAMETERS, f"{model.parameters:,}"),
        (strings.DETAIL_CONTEXT, strings.TOKENS.format(context) if context else strings.UNKNOWN),
        (strings.DETAIL_SIZE, byte_size(model.size_bytes)),
        (strings.DETAIL_TENSORS, _tensors([tensor.type for tensor in details.tensors])),
    ]
    if model.format.is_file:
        template = strings.YES if metadata.get("tokenizer.chat_template") else strings.NO
        license_name = metadata.get("general.license")
        found.append((strings.DETAIL_TEMPLATE, template))
        found.append(
            (
                strings.DETAIL_LICENSE,
                printable(license_name) if isinstance(license_name, str) else strings.UNKNOWN,
            )
        )
    return [
        *found,
        *_source(model),
        (strings.DETAIL_ADDED, age(model.created_at, now)),
        (strings.DETAIL_PATH, printable(str(model.path))),
    ]


def _source(model: Model) -> list[DetailLine]:
    if model.source.repo is None:
        return [(strings.DETAIL_SOURCE, strings.LOCAL_FOLDER)]
    repo = printable(model.source.repo)
    if model.source.revision:
        repo += f" @ {printable(model.source.revision)[:_REVISION_DIGITS]}"
    return [(strings.DETAIL_SOURCE, repo)]


def _context(metadata: Mapping[str, object]) -> int | None:
    architecture = metadata.get("general.architecture")
    in_gguf = metadata.get(f"{architecture}.context_length")
    length = in_gguf or metadata.get("max_position_embeddings")
    return length if isinstance(length, int) else None


def _tensors(types: Sequence[str]) -> str:
    counts = Counter(types).most_common()
    shown = [f"{count} {printable(name)}" for name, count in counts[:_TENSOR_TYPES_SHOWN]]
    if len(counts) > _TENSOR_TYPES_SHOWN:
        shown.append("…")
    return ", ".join(shown) or strings.UNKNOWN
