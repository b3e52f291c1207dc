"""How long models stay loaded, and how much memory they may take: `settings.toml`.

[models]
idle_minutes = 5     # unloaded when unused for so long; 0: at once; -1: never
memory_gb = 12       # the most that all loaded models take together; without it: what is free
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from localq.errors import UsageError
from localq.messages import msg
from localq.paths import Paths

__all__ = ["HostingSettings", "hosting_settings"]

_IDLE_SECONDS = 300.0
_MAX_BYTES = 1 << 20
_MAX_MINUTES = 60 * 24 * 366
_MAX_GB = 1 << 20


@dataclass(frozen=True, slots=True)
class HostingSettings:
    """Seconds and bytes; None: no limit."""

    idle_seconds: float | None = _IDLE_SECONDS
    memory_bytes: int | None = None


def hosting_settings(paths: Paths) -> HostingSettings:
    """What `settings.toml` in the config folder says. UsageError where that makes no sense."""
    path = paths.config / "settings.toml"
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return HostingSettings()
    except OSError as error:
        raise UsageError(
            msg("{path}: cannot be read: {reason}", path=path, reason=error.strerror)
        ) from error
    models = _models_table(path, content)
    idle = _number(path, models, "idle_minutes", -1, _MAX_MINUTES)
    memory = _number(path, models, "memory_gb", 0, _MAX_GB)
    seconds = _IDLE_SECONDS if idle is None else None if idle < 0 else idle * 60
    return HostingSettings(seconds, None if memory is None else round(memory * 1e9))


def _models_table(path: Path, content: bytes) -> dict[str, object]:
    import tomllib

    try:
        if len(content) > _MAX_BYTES:
            raise ValueError(f"more than {_MAX_BYTES:,} bytes")
        models = tomllib.loads(content.decode("utf-8")).get("models", {})
    except (ValueError, RecursionError) as error:
        raise UsageError(
            msg("{path}: is no TOML file: {error}", path=path, error=error),
            hint=msg("mend the file, or delete it"),
        ) from error
    if not isinstance(models, dict):
        raise UsageError(msg("{path}: models is no table", path=path), hint="[models]")
    return models


def _number(
    path: Path, table: dict[str, object], name: str, least: float, most: float
) -> float | None:
    value = table.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise UsageError(
            msg(
                "{path}: {name} is {value!r}; it is a number from {least} to {most:,}",
                path=path,
                name=name,
                value=value,
                least=least,
                most=most,
            ),
            hint=msg("mend the file, or delete it"),
        )
    return float(value)
