"""Numbers from a GGUF's metadata, which may hold anything."""

from __future__ import annotations

from collections.abc import Mapping

from localq.errors import UnsupportedError
from localq.messages import msg

__all__ = ["HeaderValues"]

_LIMIT = 1 << 31


class HeaderValues:
    """The values under the name of the file's architecture, as llama.cpp looks them up.

    UnsupportedError where one is no number that a model could have.
    """

    def __init__(self, metadata: Mapping[str, object]) -> None:
        name = metadata.get("general.architecture")
        self.architecture = name if isinstance(name, str) else "unknown"
        self._metadata = metadata

    def has(self, key: str) -> bool:
        return self._name(key) in self._metadata

    def count(self, key: str, otherwise: int) -> int:
        """A number; of a list of one number for each layer, the largest."""
        value = self._metadata.get(self._name(key))
        if isinstance(value, list):
            return max((self._checked(key, item) for item in value), default=otherwise)
        return otherwise if value is None else self._checked(key, value)

    def of_layer(self, key: str, layer: int, otherwise: int) -> int:
        """A number that may be given once for all layers or once for each."""
        value = self._metadata.get(self._name(key))
        if isinstance(value, list):
            return self._checked(key, value[layer]) if layer < len(value) else otherwise
        return otherwise if value is None else self._checked(key, value)

    def flags(self, key: str) -> list[bool] | None:
        """A list with a yes or no for each layer; None where there is no such list."""
        value = self._metadata.get(self._name(key))
        return [bool(item) for item in value] if isinstance(value, list) else None

    def _name(self, key: str) -> str:
        return f"{self.architecture}.{key}"

    def _checked(self, key: str, value: object) -> int:
        if not isinstance(value, int) or not 0 <= value < _LIMIT:
            raise UnsupportedError(
                msg(
                    "{name} is {value!r}, not a size",
                    name=self._name(key)[-80:],
                    value=str(value)[:40],
                )
            )
        return int(value)
