"""GGUF files: a reader that trusts nothing, and the header as bytes.

Spec: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Version 2 and 3, little-endian;
`stand_in` knows the others.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import prod
from pathlib import Path
from typing import BinaryIO

from localq.errors import BadFileError
from localq.formats.readable import Readable
from localq.formats.stand_in import LOOKED_AT, gguf_stand_in, piece, version_problem
from localq.formats.types import QuantType, TensorType
from localq.messages import msg

__all__ = [
    "ALIGNMENT",
    "Field",
    "GGUFFile",
    "GGUFTensor",
    "Plain",
    "TensorLayout",
    "ValueType",
    "align",
    "encode_header",
    "parse_gguf",
    "read_gguf",
]

ALIGNMENT = 32
"""Tensors begin at multiples of this many bytes unless `general.alignment` says otherwise."""

_MAGIC = b"GGUF"
_VERSION = 3
_MAX_STRING_BYTES = 64 << 20
_MAX_HEADER_BYTES = 1 << 30
_MAX_DIMENSIONS = 4
_MAX_NESTING = 4

Plain = bool | int | float | str | list["Plain"]
"""What a metadata value is in Python."""


class ValueType(IntEnum):
    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


_SCALARS: Mapping[ValueType, struct.Struct] = {
    ValueType.UINT8: struct.Struct("<B"),
    ValueType.INT8: struct.Struct("<b"),
    ValueType.UINT16: struct.Struct("<H"),
    ValueType.INT16: struct.Struct("<h"),
    ValueType.UINT32: struct.Struct("<I"),
    ValueType.INT32: struct.Struct("<i"),
    ValueType.FLOAT32: struct.Struct("<f"),
    ValueType.BOOL: struct.Struct("<?"),
    ValueType.UINT64: struct.Struct("<Q"),
    ValueType.INT64: struct.Struct("<q"),
    ValueType.FLOAT64: struct.Struct("<d"),
}


@dataclass(frozen=True, slots=True)
class Field:
    """A metadata value with its type; `item_type` is that of an array's items."""

    type: ValueType
    value: Plain
    item_type: ValueType | None = None


@dataclass(frozen=True, slots=True)
class GGUFTensor:
    """A tensor of a file. `shape` has the fastest dimension first, as ggml does; `offset` counts
    from the start of the file; `type` is a bare number where localq does not know the type, and
    `nbytes` is then 0."""

    name: str
    type: TensorType | int
    shape: tuple[int, ...]
    offset: int
    nbytes: int

    @property
    def elements(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class GGUFFile:
    path: Path
    fields: Mapping[str, Field]
    tensors: tuple[GGUFTensor, ...]
    size_bytes: int

    @property
    def metadata(self) -> dict[str, Plain]:
        """The metadata as plain Python values."""
        return {key: field.value for key, field in self.fields.items()}

    @property
    def architecture(self) -> str:
        """`general.architecture`, such as "llama"; "unknown" where the file has none."""
        field = self.fields.get("general.architecture")
        return field.value if field and isinstance(field.value, str) else "unknown"

    @property
    def quant(self) -> str:
        """The file type's name, such as "Q4_K_M"; "unknown" where the file does not say."""
        field = self.fields.get("general.file_type")
        if field and isinstance(field.value, int):
            quant = QuantType.from_file_type(field.value)
            return quant.name if quant else f"file type {field.value}"
        return "unknown"

    @property
    def parameters(self) -> int:
        return sum(tensor.elements for tensor in self.tensors)


def align(offset: int, alignment: int = ALIGNMENT) -> int:
    """The first multiple of `alignment` at or after `offset`."""
    return -(-offset // alignment) * alignment


def read_gguf(path: Path) -> GGUFFile:
    """Metadata and tensor table of a GGUF file, every count and size checked against the file.

    Raises BadFileError with the byte offset.
    """
    try:
        with path.open("rb") as file:
            found = parse_gguf(file, path, path.stat().st_size)
            _refuse_joined(found, file)
    except OSError as error:
        raise BadFileError(
            path, msg("cannot be read: {strerror}", strerror=error.strerror or error)
        ) from error
    return found


def parse_gguf(file: Readable, path: Path, size: int) -> GGUFFile:
    """As `read_gguf`, of a file of `size` bytes of which only the header is read."""
    try:
        return _Reader(path, file, size).read()
    except BadFileError as error:
        if found := piece(path.name):
            raise BadFileError(path, found.problem, hint=found.hint) from error
        raise


def _refuse_joined(gguf: GGUFFile, file: BinaryIO) -> None:
    """BadFileError for several files one behind the other, which is not how shards are joined."""
    field = gguf.fields.get("general.alignment")
    alignment = field.value if field and isinstance(field.value, int) else ALIGNMENT
    end = max((tensor.offset + tensor.nbytes for tensor in gguf.tensors), default=gguf.size_bytes)
    for place in dict.fromkeys((end, align(end, alignment))):
        file.seek(min(place, gguf.size_bytes))
        if file.read(len(_MAGIC)) == _MAGIC:
            raise BadFileError(
                gguf.path,
                msg("holds several GGUF files, one behind the other, as cat joins them"),
                offset=place,
                hint=msg(
                    "take the files as they were, NAME-00001-of-0000N.gguf and so on, which"
                    " need no joining"
                ),
            )


class _Reader:
    def __init__(self, path: Path, file: Readable, size: int) -> None:
        self.path = path
        self.file = file
        self.size = size
        self.position = 0

    def read(self) -> GGUFFile:
        beginning = self.file.read(4)
        if beginning != _MAGIC:
            raise self.no_gguf(beginning + self.file.read(LOOKED_AT))
        self.position = 4
        if found := version_problem(self.take(4)):
            raise BadFileError(self.path, found.problem, hint=found.hint)
        tensor_count = self.count(ValueType.UINT64, least_bytes=8 + 4 + 4 + 8)
        field_count = self.count(ValueType.UINT64, least_bytes=8 + 4 + 1)
        fields: dict[str, Field] = {}
        for _ in range(field_count):
            key = self.string()
            fields[key] = self.field(self.value_type())
        alignment = self.alignment(fields)
        table = [self.tensor_entry() for _ in range(tensor_count)]
        start = align(self.position, alignment)
        tensors = tuple(self.tensor(entry, start, alignment) for entry in table)
        return GGUFFile(self.path, fields, tensors, self.size)

    def no_gguf(self, beginning: bytes) -> BadFileError:
        found = gguf_stand_in(beginning)
        if found is None:
            return self.bad(msg("not a GGUF file"))
        return BadFileError(self.path, found.problem, hint=found.hint)

    def bad(self, problem: str) -> BadFileError:
        return BadFileError(
            self.path,
            problem,
            offset=self.position,
            hint=msg("the file is damaged or unfinished; get it again"),
        )

    def take(self, count: int) -> bytes:
        if count > min(self.size, _MAX_HEADER_BYTES) - self.position:
            raise self.bad(msg("the header ends beyond the file"))
        data = self.file.read(count)
        if len(data) != count:
            raise self.bad(msg("the file ends inside the header"))
        self.position += count
        return data

    def number(self, type_: ValueType) -> int:
        scalar = _SCALARS[type_]
        return int(scalar.unpack(self.take(scalar.size))[0])

    def count(self, type_: ValueType, *, least_bytes: int) -> int:
        """A count of things that each take at least so many bytes of what is left."""
        count = self.number(type_)
        if count * least_bytes > self.size - self.position:
            raise self.bad(msg("a count of {count:,} does not fit into the file", count=count))
        return count

    def string(self) -> str:
        length = self.number(ValueType.UINT64)
        if length > _MAX_STRING_BYTES:
            raise self.bad(msg("a string of {length:,} bytes", length=length))
        # A token may be any bytes; surrogates keep them apart and give them back unchanged.
        return self.take(length).decode("utf-8", "surrogateescape")

    def value_type(self) -> ValueType:
        number = self.number(ValueType.UINT32)
        try:
            return ValueType(number)
        except ValueError:
            raise self.bad(msg("unknown metadata type {number}", number=number)) from None

    def field(self, type_: ValueType, depth: int = 0) -> Field:
        if type_ is ValueType.STRING:
            return Field(type_, self.string())
        if type_ is not ValueType.ARRAY:
            scalar = _SCALARS[type_]
            return Field(type_, scalar.unpack(self.take(scalar.size))[0])
        if depth == _MAX_NESTING:
            raise self.bad(msg("arrays nested too deeply"))
        item_type = self.value_type()
        if item_type in _SCALARS:
            scalar = _SCALARS[item_type]
            count = self.count(ValueType.UINT64, least_bytes=scalar.size)
            values = struct.unpack(f"<{count}{scalar.format[1:]}", self.take(count * scalar.size))
            return Field(type_, list(values), item_type)
        count = self.count(ValueType.UINT64, least_bytes=8)
        if item_type is ValueType.STRING:
            return Field(type_, [self.string() for _ in range(count)], item_type)
        nested = [self.field(item_type, depth + 1).value for _ in range(count)]
        return Field(type_, nested, item_type)

    def alignment(self, fields: Mapping[str, Field]) -> int:
        field = fields.get("general.alignment")
        if field is None:
            return ALIGNMENT
        value = field.value
        if type(value) is not int or not 1 <= value <= 1 << 20 or value & (value - 1):
            raise self.bad(msg("impossible alignment {value!r}", value=value))
        return value

    def tensor_entry(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self.string()
        dimensions = self.number(ValueType.UINT32)
        if dimensions > _MAX_DIMENSIONS:
            raise self.bad(
                msg(
                    "tensor {name!r} has {dimensions} dimensions",
                    name=name[:200],
                    dimensions=dimensions,
                )
            )
        shape = tuple(self.number(ValueType.UINT64) for _ in range(dimensions))
        return name, shape, self.number(ValueType.UINT32), self.number(ValueType.UINT64)

    def tensor(
        self, entry: tuple[str, tuple[int, ...], int, int], start: int, alignment: int
    ) -> GGUFTensor:
        name, shape, type_number, relative = entry
        self.position = start + relative
        where = f"tensor {name[:200]!r}"
        type_ = TensorType.from_id(type_number)
        nbytes = 0
        if type_ is not None:
            columns = shape[0] if shape else 1
            if columns % type_.block_elements:
                raise self.bad(
                    msg(
                        "{where}: {columns} columns are not whole {name} blocks",
                        where=where,
                        columns=columns,
                        name=type_.name,
                    )
                )
            nbytes = type_.row_bytes(columns) * prod(shape[1:])
        if relative % alignment or start + relative + nbytes > self.size:
            raise self.bad(msg("{where} does not lie within the file", where=where))
        return GGUFTensor(name, type_ or type_number, shape, start + relative, nbytes)


@dataclass(frozen=True, slots=True)
class TensorLayout:
    """A tensor to be written: its bytes begin `offset` bytes after the header's end."""

    name: str
    type: TensorType
    shape: tuple[int, ...]
    offset: int


def encode_header(
    fields: Iterable[tuple[str, Field]],
    tensors: Sequence[TensorLayout],
    alignment: int = ALIGNMENT,
) -> bytes:
    """The bytes of a GGUF file up to its first tensor, padding included."""
    parts: list[bytes] = []
    count = 0
    for key, field in fields:
        parts += [_string(key), _U32.pack(field.type), _value(field)]
        count += 1
    for tensor in tensors:
        parts += [_string(tensor.name), _U32.pack(len(tensor.shape))]
        parts += [_U64.pack(n) for n in tensor.shape]
        parts += [_U32.pack(tensor.type.ggml_id), _U64.pack(tensor.offset)]
    head = _MAGIC + _U32.pack(_VERSION) + _U64.pack(len(tensors)) + _U64.pack(count)
    header = head + b"".join(parts)
    return header.ljust(align(len(header), alignment), b"\0")


_U32 = _SCALARS[ValueType.UINT32]
_U64 = _SCALARS[ValueType.UINT64]


def _string(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    return _U64.pack(len(data)) + data


def _value(field: Field) -> bytes:
    value = field.value
    if field.type is ValueType.STRING:
        assert isinstance(value, str)
        return _string(value)
    if field.type is not ValueType.ARRAY:
        return _SCALARS[field.type].pack(value)
    assert isinstance(value, list)
    assert field.item_type is not None
    head = _U32.pack(field.item_type) + _U64.pack(len(value))
    if field.item_type in _SCALARS:
        items = struct.pack(f"<{len(value)}{_SCALARS[field.item_type].format[1:]}", *value)
    elif field.item_type is ValueType.STRING:
        items = b"".join(_string(text) for text in value if isinstance(text, str))
    else:
        items = b"".join(_value(Field(field.item_type, item)) for item in value)
    return head + items
