"""What a preset asks of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from functools import cache
from types import UnionType
from typing import Any, get_args, get_type_hints

from localq.engine.grammar import check_grammar
from localq.engine.sampling import SamplingParams
from localq.errors import UsageError
from localq.json_codec import from_json, shown
from localq.messages import Message, msg
from localq.paths import Paths
from localq.sessions import Preset
from localq.sessions.preset_files import PresetFiles

__all__ = ["check_reply_settings", "checked_preset", "preset_named", "sampling_given"]

_KINDS: Mapping[object, Message] = {
    float: msg("a number"),
    int: msg("a whole number"),
    bool: msg("true or false"),
    str: msg("a text"),
}


def preset_named(paths: Paths, name: str) -> Preset:
    """NotFoundError; BadFileError or UsageError where it makes no sense."""
    return checked_preset(PresetFiles(paths).get(name))


def checked_preset(preset: Preset) -> Preset:
    """UsageError unless the engine takes its sampling."""
    sampling_given(preset)
    return preset


def check_reply_settings(preset: Preset, given: Mapping[str, object]) -> None:
    """UsageError where what is asked of a reply makes no sense, as far as that can be told without
    the model, which may take minutes to load."""
    params = SamplingParams(**sampling_given(preset, given))
    check_grammar(params.grammar, params.json_schema)


def sampling_given(preset: Preset, given: Mapping[str, object] | None = None) -> dict[str, Any]:
    """The fields of SamplingParams that `given`, not None, and then the preset name. UsageError:
    the preset names what is none, or a value that it cannot have."""
    wanted: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in preset.sampling.items()
    }
    for name, value in wanted.items():
        _check(preset.name, name, value)
    try:
        params = from_json(SamplingParams, wanted)
    except UsageError as error:
        raise UsageError(
            msg("preset {name}: {error}", name=preset.name, error=error.message), hint=error.hint
        ) from None
    over = {name: value for name, value in (given or {}).items() if value is not None}
    return {**{name: getattr(params, name) for name in wanted}, **over}


def _check(preset: str, name: str, value: object) -> None:
    types = _types()
    if name not in types:
        known = get_close_matches(name, types, 3) or [
            field.name for field in fields(SamplingParams) if field.name != "markers"
        ]
        raise UsageError(
            msg("preset {preset}: there is no setting {name!r}", preset=preset, name=name[:80]),
            hint=msg("one of: {names}", names=", ".join(known)),
        )
    try:
        from_json(types[name], value)
    except TypeError:
        choices = get_args(types[name]) if isinstance(types[name], UnionType) else (types[name],)
        kind = next((text for kind, text in _KINDS.items() if kind in choices), msg("a list"))
        raise UsageError(
            msg(
                "preset {preset}: {name} is {value}; it must be {kind}",
                preset=preset,
                name=name,
                value=shown(value),
                kind=kind,
            )
        ) from None


@cache
def _types() -> dict[str, Any]:
    return get_type_hints(SamplingParams)
