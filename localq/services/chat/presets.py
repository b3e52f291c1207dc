"""What a preset asks of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localq.engine.sampling import SamplingParams
from localq.errors import UsageError
from localq.json_codec import from_json
from localq.messages import msg
from localq.paths import Paths
from localq.sessions import Preset
from localq.sessions.preset_files import PresetFiles

__all__ = ["checked_preset", "preset_named", "sampling_given"]


def preset_named(paths: Paths, name: str) -> Preset:
    """NotFoundError; BadFileError or UsageError where it makes no sense."""
    return checked_preset(PresetFiles(paths).get(name))


def checked_preset(preset: Preset) -> Preset:
    """UsageError unless the engine takes its sampling."""
    sampling_given(preset)
    return preset


def sampling_given(preset: Preset, given: Mapping[str, object] | None = None) -> dict[str, Any]:
    """The fields of SamplingParams that `given`, not None, and then the preset name."""
    wanted: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in preset.sampling.items()
    }
    try:
        params = from_json(SamplingParams, wanted)
    except TypeError as error:
        raise UsageError(
            msg("preset {name}: sampling: {error}", name=preset.name, error=error),
            hint=msg("names and values are those of SamplingParams: temperature = 0.7"),
        ) from None
    except UsageError as error:
        raise UsageError(
            msg("preset {name}: sampling: {error}", name=preset.name, error=error.message),
            hint=error.hint,
        ) from None
    over = {name: value for name, value in (given or {}).items() if value is not None}
    return {**{name: getattr(params, name) for name in wanted}, **over}
