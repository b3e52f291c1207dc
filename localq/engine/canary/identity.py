"""Which engine this is, and which processor and system it meets: what a check's result is kept for.

The libraries are named by a hash of their contents. Tens of megabytes are not hashed at every
start: a hash is believed as long as the files keep their names, sizes and times.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib import util
from pathlib import Path

__all__ = ["EngineFiles", "digest", "engine_files", "processor"]

_REVISION = "1"
"""Of the canary and of what it looks at: another one checks every engine anew."""
_SUFFIXES = (".so", ".dylib", ".dll")
_CPUINFO_BYTES = 1 << 14  # the first processor's share; with hundreds of them the whole takes long


@dataclass(frozen=True, slots=True)
class EngineFiles:
    """The engine's libraries, and the bindings above them."""

    folder: Path
    files: tuple[Path, ...]
    stamp: str
    """Changes with any name, size or time of the files."""


def engine_files() -> EngineFiles | None:
    """The installed engine's, found without loading it; None where there is none."""
    spec = util.find_spec("llama_cpp")
    if spec is None or not spec.submodule_search_locations:
        return None
    package = Path(spec.submodule_search_locations[0])
    folder = Path(os.environ.get("LLAMA_CPP_LIB_PATH") or package / "lib")
    files: list[Path] = []
    with suppress(OSError):
        files += sorted(f for f in folder.iterdir() if any(s in f.suffixes for s in _SUFFIXES))
    files.append(package / "llama_cpp.py")
    parts: list[str] = []
    for file in files:
        with suppress(OSError):
            info = file.stat()
            parts.append(f"{file.name}:{info.st_size}:{info.st_mtime_ns}")
    return EngineFiles(folder, tuple(files), _hash("\n".join(parts).encode()))


def digest(engine: EngineFiles) -> str:
    """The hash of what the files hold. OSError."""
    names = hashlib.blake2b(digest_size=16)
    for file in engine.files:
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        names.update(f"{file.name}:{content}\n".encode())
    return names.hexdigest()


def processor() -> str:
    """A hash of what the processor can do, and of the system that lets programs use it."""
    return _hash("\n".join((_REVISION, *_system(), *_processor())).encode())


def _system() -> tuple[str, ...]:
    if sys.platform == "win32":
        return platform.system(), str(sys.getwindowsversion())
    # On a Mac the version names the chip, too.
    return tuple(os.uname()[index] for index in (0, 2, 3, 4))


def _processor() -> tuple[str, ...]:
    if sys.platform == "win32":
        return (os.environ.get("PROCESSOR_IDENTIFIER", ""),)
    try:
        with Path("/proc/cpuinfo").open("rb") as file:
            text = file.read(_CPUINFO_BYTES).decode("utf-8", "replace")
    except OSError:
        return ()
    wanted = ("model name", "flags", "Features", "CPU part")
    return tuple(line for line in text.split("\n\n")[0].splitlines() if line.startswith(wanted))


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
