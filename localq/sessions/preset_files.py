"""Presets as files that their user may edit: `presets/NAME.toml` in the config folder."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from localq.errors import BadFileError, LocalqError, NotFoundError, UsageError, storage_errors
from localq.messages import msg
from localq.partials import write_whole
from localq.paths import Paths
from localq.sessions.preset import SHIPPED, Preset, preset_of

__all__ = ["PresetFiles", "preset_text", "read_preset"]

_MAX_BYTES = 2 << 20
_NAME = re.compile(r"\w[\w.-]{0,59}")


class PresetFiles:
    """The shipped presets, and the user's own, which go before shipped ones of the same name."""

    def __init__(self, paths: Paths) -> None:
        self._folder = paths.config / "presets"

    def path(self, name: str) -> Path:
        """The file of a preset, whether it is there or not. UsageError: it cannot be one."""
        if not _NAME.fullmatch(name) or name.endswith("."):
            raise UsageError(
                msg("{name!r} is no name for a preset", name=name[:80]),
                hint=msg("letters, digits, hyphens and dots"),
            )
        return self._folder / f"{name}.toml"

    def is_own(self, name: str) -> bool:
        """Whether the preset, or a change of a shipped one, is the user's."""
        return self.path(name).exists()

    def names(self) -> list[str]:
        own = {path.stem for path in self._folder.glob("*.toml") if _NAME.fullmatch(path.stem)}
        return [*SHIPPED, *sorted(own - SHIPPED.keys())]

    def all(self) -> tuple[list[Preset], list[LocalqError]]:
        """Every preset that can be read, and why the others cannot."""
        presets, problems = [], []
        for name in self.names():
            try:
                presets.append(self.get(name))
            except LocalqError as error:
                problems.append(error)
        return presets, problems

    def get(self, name: str) -> Preset:
        """NotFoundError; BadFileError or UsageError name the file and what in it makes no
        sense."""
        path = self.path(name)
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            if name in SHIPPED:
                return SHIPPED[name]
            raise NotFoundError(
                msg("there is no preset {name!r}", name=name),
                hint=msg("one of: {names}", names=", ".join(self.names())),
            ) from None
        except OSError as error:
            raise BadFileError(
                path, msg("cannot be read: {strerror}", strerror=error.strerror or error)
            ) from error
        return read_preset(name, path, data)

    def put(self, preset: Preset) -> Path:
        """Keep a preset, in place of one of the same name. StorageError."""
        path = self.path(preset.name)
        with storage_errors(path, hint=msg("let LOCALQ_HOME name another folder")):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, preset_text(preset))
        return path

    def remove(self, name: str) -> bool:
        """Forget the user's preset; whether a shipped one of that name comes to light.
        NotFoundError."""
        path = self.path(name)
        with storage_errors(path, hint=""):
            try:
                path.unlink()
            except FileNotFoundError:
                why = (
                    msg("preset {name} comes with localq and cannot be removed", name=name)
                    if name in SHIPPED
                    else msg("there is no preset {name!r}", name=name)
                )
                raise NotFoundError(why) from None
        return name in SHIPPED


def read_preset(name: str, path: Path, data: bytes) -> Preset:
    """As `PresetFiles.get`, of the file's bytes."""
    if len(data) > _MAX_BYTES:
        raise BadFileError(path, msg("too long for a preset"))
    try:
        document = tomllib.loads(data.decode("utf-8").replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        raise BadFileError(path, msg("not valid UTF-8"), offset=error.start) from None
    except RecursionError:
        raise BadFileError(path, msg("nested too deeply")) from None
    except ValueError as error:  # a TOMLDecodeError, or a number of thousands of digits
        raise BadFileError(path, msg("not valid TOML: {error}", error=error)) from None
    try:
        return preset_of(name, document)
    except UsageError as error:
        raise UsageError(
            msg("{path}: {message}", path=path, message=error.message), hint=error.hint
        ) from None


def preset_text(preset: Preset) -> str:
    """The preset as TOML."""
    lines = []
    if preset.about:
        lines.append(f"about = {_text(preset.about)}")
    if preset.system:
        lines.append(f"system = {_text(preset.system)}")
    lines.append(f"on_full = {_text(preset.on_full)}")
    if preset.sampling:
        lines += ["", "[sampling]"]
        lines += [f"{_key(name)} = {_value(value)}" for name, value in preset.sampling.items()]
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    """On several lines where it has several, so that it can be edited."""
    if "\n" not in text:
        return _line(text)
    return '"""\n' + "\n".join(_line(line)[1:-1] for line in text.split("\n")) + '"""'


def _line(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _line(name)


def _value(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + "}"
    return json.dumps(value)
