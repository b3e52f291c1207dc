"""GGUF metadata under construction, in the order llama.cpp writes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from localq.formats.gguf import Field, Plain, ValueType

__all__ = ["FieldBuilder"]


class FieldBuilder:
    """Keys keep the place where they were first set; setting one again replaces its value."""

    def __init__(self) -> None:
        self._fields: dict[str, Field] = {}

    def __iter__(self) -> Iterator[tuple[str, Field]]:
        return iter(self._fields.items())

    def get(self, key: str) -> Plain | None:
        field = self._fields.get(key)
        return None if field is None else field.value

    def field(self, key: str, field: Field) -> None:
        if isinstance(field.value, str):
            field = Field(field.type, _valid(field.value))
        self._fields[key] = field

    def u32(self, key: str, value: int) -> None:
        self._fields[key] = Field(ValueType.UINT32, value)

    def i32(self, key: str, value: int) -> None:
        self._fields[key] = Field(ValueType.INT32, value)

    def f32(self, key: str, value: float) -> None:
        self._fields[key] = Field(ValueType.FLOAT32, float(value))

    def boolean(self, key: str, value: bool) -> None:
        self._fields[key] = Field(ValueType.BOOL, value)

    def string(self, key: str, value: str) -> None:
        """An empty text is left out, as llama.cpp does."""
        if value:
            self._fields[key] = Field(ValueType.STRING, _valid(value))

    def strings(self, key: str, values: Sequence[str]) -> None:
        if values:
            texts = [*map(_valid, values)]
            self._fields[key] = Field(ValueType.ARRAY, list[Plain](texts), ValueType.STRING)

    def i32s(self, key: str, values: Sequence[int]) -> None:
        if values:
            self._fields[key] = Field(ValueType.ARRAY, list(values), ValueType.INT32)

    def f32s(self, key: str, values: Sequence[float]) -> None:
        if values:
            self._fields[key] = Field(ValueType.ARRAY, list(values), ValueType.FLOAT32)

    def booleans(self, key: str, values: Sequence[bool]) -> None:
        if values:
            self._fields[key] = Field(ValueType.ARRAY, list(values), ValueType.BOOL)


def _valid(text: str) -> str:
    """Half of a surrogate pair, which JSON may hold and UTF-8 may not, becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
