"""`general.*` metadata: name, author, licence, sampling defaults, from the model card and the name.

The rules for taking a repository's name apart are gguf-py's, called as they are; what it makes of
the card comes back as GGUF fields.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from localq.convert.checkpoint import Checkpoint
from localq.convert.fields import FieldBuilder
from localq.errors import BadFileError
from localq.formats.gguf import Field, Plain, ValueType
from localq.formats.json_file import read_json_object

__all__ = ["write_authorship"]

_MAX_CARD_BYTES = 4 << 20
_SAMPLING = (
    # generation_config.json, then GGUF, in gguf-py's order.
    ("top_k", "top_k", int),
    ("top_p", "top_p", float),
    ("min_p", "min_p", float),
    ("xtc_probability", "xtc_probability", float),
    ("xtc_threshold", "xtc_threshold", float),
    ("temperature", "temp", float),
    ("penalty_last_n", "penalty_last_n", int),
    ("penalty_repeat", "penalty_repeat", float),
    ("mirostat", "mirostat", int),
    ("mirostat_tau", "mirostat_tau", float),
    ("mirostat_eta", "mirostat_eta", float),
)


def write_authorship(
    checkpoint: Checkpoint, fields: FieldBuilder, parameters: int, experts: tuple[int, int, int]
) -> str | None:
    """Add sampling defaults, name and the rest; a warning where the model card is unusable.

    `experts` is (parameters outside the experts, parameters of one expert, number of experts).
    """
    import gguf

    _write_sampling(checkpoint.root, fields)
    card, warning = _model_card(checkpoint.root)
    config = dict(checkpoint.config)
    if not isinstance(config.get("_name_or_path"), str):
        config.pop("_name_or_path", None)
    metadata = gguf.Metadata.apply_metadata_heuristic(
        gguf.Metadata(), card, config, Path(checkpoint.name), parameters
    )
    metadata.name = metadata.name or checkpoint.name
    if metadata.size_label is None and parameters:
        metadata.size_label = gguf.size_label(parameters, *experts)
    writer = gguf.GGUFWriter(None, "llama")
    try:
        metadata.set_gguf_meta_model(writer)
    except (AttributeError, TypeError, ValueError) as error:
        return f"{checkpoint.root / 'README.md'}: the model card was left out: {error}"
    for key, value in writer.kv_data[0].items():
        if key != "general.architecture" and (field := _field(value.type, value.value)):
            fields.field(key, field)
    return warning


def _model_card(root: Path) -> tuple[dict[str, Any], str | None]:
    import gguf
    import yaml

    path = root / "README.md"
    if not path.is_file():
        return {}, None
    if path.stat().st_size > _MAX_CARD_BYTES:
        return {}, f"{path}: too long for a model card; it was left out"
    try:
        return gguf.Metadata.load_model_card(root), None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return {}, f"{path}: the model card was left out: {first}"


def _field(type_: int, value: object) -> Field | None:
    """A field of what the card gave, or None where it is not what such a field holds."""
    kind = ValueType(int(type_))
    if kind is ValueType.ARRAY:
        if isinstance(value, list):
            texts: list[Plain] = [item for item in value if isinstance(item, str)]
            return Field(kind, texts, ValueType.STRING) if texts else None
        return None
    if kind is ValueType.STRING:
        # YAML reads a version such as 1.5 as a number.
        return Field(kind, str(value)) if isinstance(value, str | int | float) else None
    return Field(kind, value) if isinstance(value, int | float) else None


def _write_sampling(root: Path, fields: FieldBuilder) -> None:
    path = root / "generation_config.json"
    if not path.is_file():
        return
    try:
        config = read_json_object(path, max_bytes=1 << 20)
    except BadFileError:
        return  # not all checkpoints have a valid one, and none needs it
    config.setdefault("penalty_repeat", config.get("repetition_penalty"))
    for key, name, kind in _SAMPLING:
        value = config.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if kind is int and isinstance(value, int) and abs(value) < 1 << 31:
            fields.i32(f"general.sampling.{name}", value)
        elif kind is float:
            fields.f32(f"general.sampling.{name}", value)
