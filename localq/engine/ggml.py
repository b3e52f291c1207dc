"""ggml's tensors in memory, as a callback during a computation meets them.

ggml has no functions to read a tensor's fields, so its struct is described here (llama.cpp
`ggml/include/ggml.h`) and compared, field by field, with tensors that the library makes: a release
that moved a field is refused, not misread.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

__all__ = ["Ggml", "GgmlTensor", "UnknownLayout"]

_F32, _I32 = 0, 26
_PROBE_BYTES = 1 << 16
_NAMES = {"win32": "ggml-base.dll", "darwin": "libggml-base.dylib"}


class GgmlTensor(ctypes.Structure):
    """`ne` are the sizes, fastest dimension first; `nb` the strides in bytes."""

    type: int
    buffer: int | None
    ne: ctypes.Array[ctypes.c_int64]
    nb: ctypes.Array[ctypes.c_size_t]
    op: int
    src: ctypes.Array[Any]
    data: int | None
    name: bytes

    @property
    def rows(self) -> int:
        return int(self.ne[1]) * int(self.ne[2]) * int(self.ne[3])


GgmlTensor._fields_ = [
    ("type", ctypes.c_int),
    ("buffer", ctypes.c_void_p),
    ("ne", ctypes.c_int64 * 4),
    ("nb", ctypes.c_size_t * 4),
    ("op", ctypes.c_int),
    ("op_params", ctypes.c_int32 * 16),
    ("flags", ctypes.c_int32),
    ("src", ctypes.POINTER(GgmlTensor) * 10),
    ("view_src", ctypes.c_void_p),
    ("view_offs", ctypes.c_size_t),
    ("data", ctypes.c_void_p),
    ("name", ctypes.c_char * 64),
    ("extra", ctypes.c_void_p),
    ("padding", ctypes.c_char * 8),
]


class UnknownLayout(Exception):
    """The library's tensors are not laid out as described here."""


class _InitParams(ctypes.Structure):
    _fields_ = [
        ("mem_size", ctypes.c_size_t),
        ("mem_buffer", ctypes.c_void_p),
        ("no_alloc", ctypes.c_bool),
    ]


class Ggml:
    """The functions of ggml's base library that work on a tensor's bytes.

    `folder` is where llama.cpp's libraries are. OSError or AttributeError where they are not what
    they should be; UnknownLayout, see above.
    """

    MUL_MAT: int
    MUL_MAT_ID: int

    def __init__(self, folder: Path) -> None:
        library = ctypes.CDLL(str(folder / _NAMES.get(sys.platform, "libggml-base.so")))
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        self._nbytes = _function(library, "ggml_nbytes", ctypes.c_size_t, pointer)
        self._on_host = _function(library, "ggml_backend_buffer_is_host", ctypes.c_bool, pointer)
        self._get = _function(
            library, "ggml_backend_tensor_get", None, pointer, pointer, ctypes.c_size_t,
            ctypes.c_size_t,
        )  # fmt: skip
        self._op_name = _function(library, "ggml_op_name", ctypes.c_char_p, ctypes.c_int)
        self._set_name = _function(library, "ggml_set_name", pointer, pointer, ctypes.c_char_p)
        self._get_data = _function(library, "ggml_get_data", pointer, pointer)
        self._new = _function(
            library, "ggml_new_tensor_3d", pointer, pointer, ctypes.c_int, number, number, number
        )
        self._mul_mat = _function(library, "ggml_mul_mat", pointer, pointer, pointer, pointer)
        self._mul_mat_id = _function(
            library, "ggml_mul_mat_id", pointer, pointer, pointer, pointer, pointer
        )
        init = _function(library, "ggml_init", pointer, _InitParams)
        free = _function(library, "ggml_free", None, pointer)
        context = init(_InitParams(_PROBE_BYTES, None, False))
        if not context:
            raise UnknownLayout("ggml gives no memory")
        try:
            self._probe(context)
        finally:
            free(context)

    def bytes_of(self, tensor: GgmlTensor) -> Any:
        """The tensor's memory; a copy where it lies on a device. Valid during the callback."""
        address = ctypes.addressof(tensor)
        size = self._nbytes(address)
        if tensor.buffer and not self._on_host(tensor.buffer):
            copy = (ctypes.c_char * size)()
            self._get(address, copy, 0, size)
            return copy
        return (ctypes.c_char * size).from_address(tensor.data or 0)

    def _probe(self, context: int) -> None:
        """Make tensors of known shapes and see whether they read as what they are."""
        weight = self._new(context, _F32, 5, 3, 2)
        rows = self._new(context, _F32, 5, 7, 4)
        chosen = self._new(context, _I32, 7, 4, 1)
        self._set_name(weight, b"localq probe")
        plain = self._view(self._mul_mat(context, weight, rows))
        indexed = self._view(self._mul_mat_id(context, weight, rows, chosen))
        first = self._view(weight)
        found = (
            (first.type, first.name, list(first.ne), list(first.nb), first.data, first.buffer),
            [_address(source) for source in plain.src[:3]],
            (_address(indexed.src[0]), _address(indexed.src[2])),
            (list(plain.ne), self._view(chosen).type, list(self._view(chosen).nb)[:2]),
        )
        data = self._get_data(weight)
        expected = (
            (_F32, b"localq probe", [5, 3, 2, 1], [4, 20, 60, 120], data, None),
            [weight, rows, None],
            (weight, chosen),
            ([3, 7, 4, 1], _I32, [4, 28]),
        )
        self.MUL_MAT, self.MUL_MAT_ID = plain.op, indexed.op
        if found != expected or not 0 < plain.op < indexed.op < 64:
            raise UnknownLayout("the installed llama.cpp has another tensor layout")
        if (self._op_name(plain.op), self._op_name(indexed.op)) != (b"MUL_MAT", b"MUL_MAT_ID"):
            raise UnknownLayout("the installed llama.cpp numbers its operations in another way")

    @staticmethod
    def _view(address: int) -> GgmlTensor:
        return GgmlTensor.from_address(address)


def _function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(library, name)
    function.restype = result
    function.argtypes = list(arguments)
    return function


def _address(pointer: Any) -> int | None:
    return ctypes.addressof(pointer.contents) if pointer else None
