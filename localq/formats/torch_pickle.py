"""The pickle inside a PyTorch file, read without running anything.

A pickle is a program for a small stack machine (Python's `pickletools` documents its operations).
This machine knows those operations that build plain values, and three functions by name, which
here only note what tensor is meant. Whatever else a file asks for is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from localq.messages import msg

__all__ = ["PickleError", "PickledTensor", "Storage", "read_pickle"]


class PickleError(Exception):
    """What is wrong, and at which byte of the pickle."""

    def __init__(self, problem: str, offset: int) -> None:
        super().__init__(problem)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Storage:
    """A file entry `key` with `elements` of `dtype` (a safetensors name)."""

    dtype: str
    key: str
    elements: int


@dataclass(frozen=True, slots=True)
class PickledTensor:
    """A view of a storage; `start` and the strides count elements."""

    storage: Storage
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Name:
    """A function or class by its module and name; never looked up."""

    text: str


_STORAGES: Mapping[str, str] = {
    "torch DoubleStorage": "F64",
    "torch FloatStorage": "F32",
    "torch HalfStorage": "F16",
    "torch BFloat16Storage": "BF16",
    "torch LongStorage": "I64",
    "torch IntStorage": "I32",
    "torch ShortStorage": "I16",
    "torch CharStorage": "I8",
    "torch ByteStorage": "U8",
    "torch BoolStorage": "BOOL",
}
_FUNCTIONS = frozenset(
    {
        "collections OrderedDict",
        "torch Size",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_parameter",
    }
)
_MARK = object()
_MAX_DIMENSIONS = 8


def read_pickle(data: bytes) -> Any:
    """The value: dicts, lists, tuples, texts, numbers and PickledTensors.

    Raises PickleError for whatever is damaged or asks for more.
    """
    return _Machine(data).run()


class _Machine:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        while True:
            code = self.take(1)
            if code == b".":
                return self.pop()
            operation = _OPERATIONS.get(code)
            if operation is None:
                self.refuse(msg("operation {code!r} is not one that tensors need", code=code))
            operation(self)

    def refuse(self, problem: str) -> NoReturn:
        raise PickleError(problem, self.at)

    # -- reading -----------------------------------------------------------------------------------

    def take(self, count: int) -> bytes:
        piece = self.data[self.at : self.at + count]
        if len(piece) < count:
            self.refuse(msg("cut short"))
        self.at += count
        return piece

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "little")

    def text(self, length: int) -> str:
        try:
            return self.take(length).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            self.refuse(msg("a text is not UTF-8"))

    def line(self) -> str:
        end = self.data.find(b"\n", self.at, self.at + 1000)
        if end < 0:
            self.refuse(msg("a name has no end"))
        text = self.text(end - self.at)
        self.at += 1
        return text

    # -- the stack ---------------------------------------------------------------------------------

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            self.refuse(msg("takes more from the stack than there is"))
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        if not (self.stack and isinstance(self.stack[-1], kind)):
            self.refuse(msg("expects a {kind} on the stack", kind=kind.__name__))
        return self.stack[-1]

    def since_mark(self) -> list[Any]:
        items: list[Any] = []
        while self.stack and self.stack[-1] is not _MARK:
            items.append(self.stack.pop())
        if not self.stack:
            self.refuse(msg("a mark is missing"))
        self.stack.pop()
        return items[::-1]

    def tuple_of(self, count: int) -> None:
        self.push(tuple([self.pop() for _ in range(count)][::-1]))

    def append(self, items: list[Any]) -> None:
        self.top(list).extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.top(dict)
        if len(items) % 2:
            self.refuse(msg("a key has no value"))
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Only these: hashing a tuple of tuples may go deeper than the machine's own stack.
            if not isinstance(key, str | int):
                self.refuse(msg("a key is neither a text nor a number"))
            target[key] = value

    # -- what tensors need -------------------------------------------------------------------------

    def remember(self, index: int) -> None:
        if not self.stack:
            self.refuse(msg("takes more from the stack than there is"))
        self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        if index not in self.memo:
            self.refuse(msg("value {index} was never noted", index=index))
        self.push(self.memo[index])

    def name(self, module: object, name: object) -> None:
        text = f"{module} {name}"
        if text not in _FUNCTIONS and text not in _STORAGES:
            self.refuse(msg("it asks for {text!r}, which tensors do not need", text=text[:200]))
        self.push(_Name(text))

    def storage(self) -> None:
        match self.pop():
            case ("storage", _Name(text), str(key), str(_), int(elements)) if text in _STORAGES:
                if elements < 0:
                    self.refuse(msg("a storage has a negative size"))
                self.push(Storage(_STORAGES[text], key, elements))
            case _:
                self.refuse(msg("a reference is not one to a storage"))

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not (isinstance(function, _Name) and isinstance(arguments, tuple)):
            self.refuse(msg("a call is none"))
        match (function.text, *arguments):
            case ("collections OrderedDict",):
                self.push({})
            case ("torch Size", tuple() as shape):
                self.push(shape)
            case ("torch._utils _rebuild_parameter", PickledTensor() as tensor, *_):
                self.push(tensor)
            case (
                "torch._utils _rebuild_tensor_v2",
                Storage() as storage,
                int(start),
                tuple() as shape,
                tuple() as strides,
                *_,
            ) if _naturals((start, *shape, *strides)) and len(shape) == len(strides):
                self.push(PickledTensor(storage, start, shape, strides))
            case _:
                self.refuse(
                    msg("a call of {text!r} is not as PyTorch writes it", text=function.text)
                )

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            self.refuse(msg("a name is no text"))
        self.name(module, name)


def _naturals(values: tuple[object, ...]) -> bool:
    return len(values) <= 2 * _MAX_DIMENSIONS + 1 and all(
        type(value) is int and 0 <= value < 1 << 62 for value in values
    )


_OPERATIONS: Mapping[bytes, Callable[[_Machine], None]] = {
    b"\x80": lambda m: _void(m.take(1)),  # protocol
    b"\x95": lambda m: _void(m.take(8)),  # frame
    b"(": lambda m: m.push(_MARK),
    b"0": lambda m: _void(m.pop()),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"K": lambda m: m.push(m.number(1)),
    b"M": lambda m: m.push(m.number(2)),
    b"J": lambda m: m.push(int.from_bytes(m.take(4), "little", signed=True)),
    b"\x8a": lambda m: m.push(int.from_bytes(m.take(m.number(1)), "little", signed=True)),
    b"G": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    b"X": lambda m: m.push(m.text(m.number(4))),
    b"\x8c": lambda m: m.push(m.text(m.number(1))),
    b"\x8d": lambda m: m.push(m.text(m.number(8))),
    b"}": lambda m: m.push({}),
    b"]": lambda m: m.push([]),
    b")": lambda m: m.push(()),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"t": lambda m: m.push(tuple(m.since_mark())),
    b"a": lambda m: m.append([m.pop()]),
    b"e": lambda m: m.append(m.since_mark()),
    b"s": lambda m: m.set_items([m.pop(), m.pop()][::-1]),
    b"u": lambda m: m.set_items(m.since_mark()),
    b"q": lambda m: m.remember(m.number(1)),
    b"r": lambda m: m.remember(m.number(4)),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"h": lambda m: m.recall(m.number(1)),
    b"j": lambda m: m.recall(m.number(4)),
    b"c": lambda m: m.name(m.line(), m.line()),
    b"\x93": lambda m: m.stack_global(),
    b"Q": lambda m: m.storage(),
    b"R": lambda m: m.call(),
    b"b": lambda m: _void(m.pop()),  # attributes of a dict: nothing that weights need
}


def _void(_: object) -> None:
    """For operations whose value nobody wants."""
