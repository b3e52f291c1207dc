"""The fields of a request, each looked at before it is used. Whatever is wrong is a RequestError
that names the field; null is as if it were not there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NoReturn, TypeVar

from localq.messages import msg
from localq.server.failure import RequestError

__all__ = ["Fields", "parse_json"]

S = TypeVar("S", bound=str)

_MAX_DEPTH = 100
_MAX_NUMBER = 1e300


class Fields:
    """A JSON object of a request; `path` is where in the request it stands."""

    def __init__(self, values: Mapping[str, Any], path: str = "") -> None:
        self.values = values
        self._path = path

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def path(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def refuse(self, name: str, expected: str) -> NoReturn:
        """RequestError: the field is not what it must be."""
        path = self.path(name)
        raise RequestError(
            msg("{path} must be {expected}", path=path, expected=expected), param=path
        )

    def require(self, name: str) -> Any:
        value = self.values.get(name)
        if value is None:
            path = self.path(name)
            raise RequestError(msg("{path} is missing", path=path), param=path)
        return value

    def text(self, name: str, *, most: int = 1 << 26) -> str | None:
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self.refuse(name, "a string")
        if len(value) > most:
            self.refuse(name, f"at most {most:,} characters long")
        return value

    def choice(self, name: str, allowed: Sequence[S]) -> S | None:
        """One of the allowed strings."""
        value = self.text(name)
        if value is None:
            return None
        found = next((one for one in allowed if one == value), None)
        if found is None:
            self.refuse(name, f"one of {', '.join(allowed)}")
        return found

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.refuse(name, "true or false")
        return value

    def whole(self, name: str, least: int, most: int) -> int | None:
        value = self.values.get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.refuse(name, f"a whole number from {least} to {most}")
        return value

    def number(self, name: str, least: float, most: float) -> float | None:
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(name, "a number")
        if abs(value) > _MAX_NUMBER or not isfinite(value) or not least <= value <= most:
            self.refuse(name, f"a number from {least:g} to {most:g}")
        return float(value)

    def items(self, name: str, *, most: int) -> list[Any] | None:
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, list):
            self.refuse(name, "a list")
        if len(value) > most:
            self.refuse(name, f"a list of at most {most:,}")
        return value

    def object(self, name: str) -> Fields | None:
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.refuse(name, "an object")
        return Fields(value, self.path(name))

    def objects(self, name: str, *, most: int) -> list[Fields]:
        """A list of objects; without the field an empty one."""
        found = []
        for index, value in enumerate(self.items(name, most=most) or ()):
            where = f"{name}[{index}]"
            if not isinstance(value, dict):
                self.refuse(where, "an object")
            found.append(Fields(value, self.path(where)))
        return found

    def texts(self, name: str, *, most: int, longest: int = 1 << 26) -> tuple[str, ...]:
        """A string, or a list of strings."""
        value = self.values.get(name)
        if isinstance(value, str):
            value = [value]
            found = value
        else:
            found = self.items(name, most=most) or []
        for index, one in enumerate(found):
            if not isinstance(one, str) or len(one) > longest:
                self.refuse(f"{name}[{index}]", f"a string of at most {longest:,} characters")
        return tuple(found)

    def schema(self, name: str, *, most: int = 1 << 18) -> str | None:
        """A JSON schema, as JSON."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.refuse(name, "a JSON schema")
        text = json.dumps(value)
        if len(text) > most:
            self.refuse(name, f"a JSON schema of at most {most:,} characters")
        return text


def parse_json(body: bytes) -> dict[str, Any]:
    """A request's body: an object in UTF-8, nested not too deep, with strings that are text.
    RequestError."""
    try:
        text = body.decode("utf-8")
        value = json.loads(text, parse_constant=_refuse_constant)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # halves of surrogate pairs
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError:
        raise RequestError(msg("the body is not UTF-8")) from None
    except UnicodeEncodeError:
        raise RequestError(msg("the body has half of a surrogate pair in a string")) from None
    except ValueError as error:
        raise RequestError(msg("the body is not JSON: {reason}", reason=str(error)[:200])) from None
    if not isinstance(value, dict):
        raise RequestError(msg("the body must be a JSON object"))
    _check_depth(value)
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> RequestError:
    return RequestError(msg("the body nests deeper than {most} levels", most=_MAX_DEPTH))


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(constant)
