"""Compiles the encoders: `python -m localq.quantize.codecs.build`, and the wheel's build hook.

Nothing but the standard library is imported: the hook runs before anything is installed.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["CannotCompile", "FILE_NAME", "SOURCES", "build", "up_to_date"]

SOURCES = Path(__file__).parent
FILE_NAME = {"win32": "codecs.dll", "darwin": "codecs.dylib"}.get(sys.platform, "codecs.so")

# Never -march=native, -ffast-math or contraction: each lane must round as one float of ggml does.
_FLAGS = ("-std=gnu11", "-O3", "-ffp-contract=off", "-fvisibility=hidden")
_AVX2 = ("-mavx2", "-mf16c")
_AVX512 = (*_AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl")
_OBJECTS = {
    "avx2": ("kernels.c", (*_AVX2, "-DCODECS_ENCODE=encode_avx2")),
    "avx512": ("kernels.c", (*_AVX512, "-DCODECS_ENCODE=encode_avx512")),
    "dispatch": ("dispatch.c", ()),
    "grids": ("grids.c", ()),
}


class CannotCompile(Exception):
    """Why there is no library: the engine's codecs do the work then."""


def build(target: Path, extra_flags: tuple[str, ...] = ()) -> Path:
    """Compile the library to the file `target` and return it; CannotCompile says why not."""
    if platform.machine().lower() not in ("x86_64", "amd64") or sys.maxsize < 2**32:
        raise CannotCompile(f"there are none for {platform.machine()} processors")
    problem = "no C compiler was found (gcc or clang)"
    for compiler in _compilers():
        try:
            _compile(compiler, target, extra_flags)
        except CannotCompile as error:
            problem = str(error)
        else:
            return target
    raise CannotCompile(problem)


def up_to_date(target: Path) -> bool:
    """Whether `target` was compiled after the last change of its sources."""
    changed = max(path.stat().st_mtime for path in SOURCES.iterdir() if path.suffix in (".c", ".h"))
    return target.exists() and target.stat().st_mtime >= changed


def _compilers() -> Iterator[list[str]]:
    if command := os.environ.get("CC"):
        yield shlex.split(command)
        return
    # gcc for Windows does not align the stack for these vectors.
    for name in ("clang",) if sys.platform == "win32" else ("cc", "gcc", "clang"):
        if shutil.which(name):
            yield [name]


def _compile(compiler: list[str], target: Path, extra_flags: tuple[str, ...]) -> None:
    position = () if sys.platform == "win32" else ("-fPIC",)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:

        def compile_one(name: str) -> Path:
            source, flags = _OBJECTS[name]
            object_ = Path(folder, f"{name}.o")
            command = [*compiler, *_FLAGS, *position, *flags, *extra_flags]
            _run([*command, "-c", str(SOURCES / source), "-o", str(object_)])
            return object_

        objects = [str(path) for path in pool.map(compile_one, _OBJECTS)]
        # Written beside the target and moved, because a running program may have it loaded.
        linked = target.with_name(f".{target.name}.new")
        try:
            _run([*compiler, "-shared", *objects, "-o", str(linked)])
            linked.replace(target)
        finally:
            linked.unlink(missing_ok=True)


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise CannotCompile(f"{command[0]}: {error.strerror or error}") from error
    except subprocess.CalledProcessError as error:
        said = str(error.stderr).strip() or f"exit status {error.returncode}"
        raise CannotCompile(f"{command[0]}: {said}") from error


def main() -> int:
    """Compile into this folder, where an editable installation finds it, if anything changed."""
    target = SOURCES / FILE_NAME
    if up_to_date(target):
        return 0
    try:
        build(target)
    except CannotCompile as error:
        sys.stderr.write(f"the fast codecs were not compiled: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
