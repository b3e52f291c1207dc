"""Tables of a TOML file, whose keys are read with the types that they must have."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from localq.errors import BadFileError, NotFoundError
from localq.messages import Message, msg

__all__ = ["Table", "read_toml"]

_MAX_BYTES = 1 << 20

T = TypeVar("T")


def read_toml(path: Path) -> Table:
    """The whole file as a table. NotFoundError, BadFileError."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise BadFileError(path, msg("too large for a recipe"))
        return Table(path, "", tomllib.loads(data.decode("utf-8")))
    except FileNotFoundError:
        raise NotFoundError(msg("{path}: no such recipe", path=path)) from None
    except OSError as error:
        raise BadFileError(
            path, msg("cannot be read: {strerror}", strerror=error.strerror or error)
        ) from error
    except (ValueError, RecursionError) as error:  # not TOML, or not UTF-8
        raise BadFileError(path, msg("not a recipe: {error}", error=error)) from None


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the file. Each method raises BadFileError, which names the file and the key."""

    path: Path
    name: str
    """"quantize"; empty for the whole file."""
    content: Mapping[str, Any]

    def __contains__(self, key: str) -> bool:
        return key in self.content

    def refuse_unknown(self, known: tuple[str, ...]) -> None:
        """BadFileError for a key that is none of `known`."""
        if unknown := sorted(set(self.content) - set(known)):
            raise BadFileError(
                self.path,
                msg("{key} is not a key of recipes", key=self._full(unknown[0])),
                hint=msg("known here: {known}", known=", ".join(known)),
            )

    def bad(self, key: str, problem: Message | str, *, hint: str | None = None) -> BadFileError:
        """The error that says what is wrong with a key's value."""
        return BadFileError(
            self.path, msg("{key}: {problem}", key=self._full(key), problem=problem), hint=hint
        )

    def text(self, key: str) -> str:
        value = self._value(key, str)
        if not value.strip() or not value.isprintable():
            raise BadFileError(self.path, msg("{key} holds no text", key=self._full(key)))
        return value

    def natural(self, key: str) -> int:
        value = self._value(key, int)
        if isinstance(value, bool) or value <= 0:
            raise BadFileError(
                self.path, msg("{key} must be a number above 0", key=self._full(key))
            )
        return value

    def number(self, key: str, least: float, most: float = math.inf) -> float:
        """A number from `least` to `most`, both included."""
        value = self._value(key, (int, float))
        if isinstance(value, bool) or not math.isfinite(value) or not least <= value <= most:
            limits = (
                msg("at least {least:g}", least=least)
                if most == math.inf
                else msg("{least:g} to {most:g}", least=least, most=most)
            )
            raise BadFileError(
                self.path, msg("{key} must be {limits}", key=self._full(key), limits=limits)
            )
        return float(value)

    def flag(self, key: str) -> bool:
        """False where it is not there."""
        return key in self and self._value(key, bool)

    def texts(self, key: str) -> tuple[str, ...]:
        values = self._value(key, list)
        if not values or not all(isinstance(value, str) for value in values):
            raise BadFileError(self.path, msg("{key} must be a list of texts", key=self._full(key)))
        return tuple(values)

    def table(self, key: str) -> Table:
        """Empty where it is not there."""
        content = self._value(key, dict) if key in self else {}
        return Table(self.path, self._full(key), content)

    def tables(self, key: str) -> tuple[Table, ...]:
        """Of [key] one, of [[key]] each; none where it is not there."""
        if not isinstance(self.content.get(key), list):
            return (self.table(key),) if key in self else ()
        values = self.content[key]
        if not values or not all(isinstance(value, dict) for value in values):
            raise BadFileError(self.path, msg("{key} must be a table", key=self._full(key)))
        return tuple(
            Table(self.path, f"{self._full(key)}[{place}]", value)
            for place, value in enumerate(values, 1)
        )

    def _full(self, key: str) -> str:
        return f"{self.name}.{key[:80]}" if self.name else key[:80]

    def _value(self, key: str, kind: type[T] | tuple[type[T], ...]) -> T:
        value = self.content.get(key)
        if value is None:
            raise BadFileError(self.path, msg("{key} is missing", key=self._full(key)))
        if not isinstance(value, kind):
            name = _KINDS[kind if isinstance(kind, type) else float]
            raise BadFileError(
                self.path, msg("{key} must be {kinds}", key=self._full(key), kinds=name)
            )
        return value


_KINDS: Mapping[type, Message] = {
    str: msg("a text"),
    int: msg("a whole number"),
    float: msg("a number"),
    bool: msg("true or false"),
    list: msg("a list"),
    dict: msg("a table"),
}
