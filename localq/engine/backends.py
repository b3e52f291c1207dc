"""What llama.cpp's C bindings leave out: ggml's own functions about memory and devices."""

from __future__ import annotations

import ctypes
from typing import Any

from localq.engine.bindings import library, library_folder

__all__ = ["cpu_buffer_type", "total_memory"]

_MAX_DEVICES = 64


def cpu_buffer_type(api: Any) -> int:
    """The address of ggml's type of plain host memory. OSError, AttributeError: not to be had."""
    function = library(library_folder(api), "ggml-base").ggml_backend_cpu_buffer_type
    function.restype = ctypes.c_void_p
    function.argtypes = []
    return int(function())


def total_memory(api: Any) -> int | None:
    """Bytes of host memory and of all devices together; None where ggml does not say."""
    try:
        folder = library_folder(api)
        registry, base = library(folder, "ggml"), library(folder, "ggml-base")
        count, get = registry.ggml_backend_dev_count, registry.ggml_backend_dev_get
        memory = base.ggml_backend_dev_memory
    except (OSError, AttributeError):
        return None
    count.restype, count.argtypes = ctypes.c_size_t, []
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    size = ctypes.c_size_t
    memory.restype, memory.argtypes = None, [ctypes.c_void_p] + [ctypes.POINTER(size)] * 2
    total = 0
    for index in range(min(count(), _MAX_DEVICES)):
        free_bytes, total_bytes = size(0), size(0)
        memory(get(index), ctypes.byref(free_bytes), ctypes.byref(total_bytes))
        total += total_bytes.value
    return total or None
