"""llama-cpp-python's C bindings, loaded without the package around them."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

__all__ = ["library", "library_folder", "llama_cpp"]


def llama_cpp() -> Any:
    """The module `llama_cpp.llama_cpp`. ImportError, OSError, RuntimeError: not to be had.

    Importing the whole package takes five times as long (numpy, templates, a web server's types),
    and none of it is needed.
    """
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("llama-cpp-python is not installed")
    package = types.ModuleType("llama_cpp")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["llama_cpp"] = package
    try:
        return importlib.import_module("llama_cpp.llama_cpp")
    except ImportError:  # a release that expects its package to be there
        del sys.modules["llama_cpp"]
        return importlib.import_module("llama_cpp.llama_cpp")


def library_folder(api: Any) -> Path:
    """Where llama.cpp's libraries are; `api` is what `llama_cpp` gave."""
    return Path(api._lib._name).parent


def library(folder: Path, name: str) -> ctypes.CDLL:
    """One of ggml's libraries beside llama.cpp's own, which are loaded with it. OSError.

    It has to be the very file that libllama is linked to, which is named with its version: wheels
    cannot hold links, so the plain name is a copy, and a second copy would be loaded, with a
    registry of backends of its own.
    """
    versioned = sorted(
        (*folder.glob(f"lib{name}.so.*"), *folder.glob(f"lib{name}.*.dylib")), key=_length
    )
    plain = (
        folder / n for n in (f"lib{name}.so", f"lib{name}.dylib", f"{name}.dll", f"lib{name}.dll")
    )
    path = next((path for path in (*versioned, *plain) if path.exists()), folder / f"lib{name}.so")
    return ctypes.CDLL(str(path))


def _length(path: Path) -> int:
    return len(path.name)
