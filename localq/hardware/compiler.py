"""What the C++ compiler here has to be told so that the engine it makes works.

llama.cpp is compiled for the very processor it is compiled on. gcc 11 to 13.2 then makes broken
code for Intel's AMX: `_tile_loadconfig` says that it reads 8 of the 64 bytes of a configuration,
so the stores of the others are dropped (gcc bug 114098), and the first matrix multiplication ends
the process. Distributions mend old releases too, so the compiler is tried, not its version.

The standard library is all this needs: it runs before anything is installed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence

__all__ = ["WITHOUT_AMX", "compiler_flags", "compilers", "run_compiler"]

WITHOUT_AMX = ("-mno-amx-tile", "-mno-amx-int8", "-mno-amx-bf16")
"""Options of gcc that leave AMX out; the rest of the processor is still used."""

_TIMEOUT_SECONDS = 60.0  # a machine that compiles other things too
_NUMBER = "1515870810"
# Only the header with the intrinsic in question: all of them together take twenty times as long.
_PROBE = f"""
#if defined(__AMX_TILE__) && defined(__GNUC__) && !defined(__clang__)
#define _IMMINTRIN_H_INCLUDED
#include <amxtileintrin.h>
struct configuration {{ char before[48]; int number; char after[12]; }};
void probe()
{{
    configuration config = {{}};
    config.number = {_NUMBER};
    _tile_loadconfig(&config);
}}
#endif
"""


def compiler_flags(
    environ: Mapping[str, str] = os.environ, processor: str = "native"
) -> tuple[str, ...]:
    """Options for C and C++ without which the engine compiled here would crash; mostly none.

    `processor` is what it is compiled for, in the words of gcc's -march. `environ` names the
    compiler as it does for CMake. Takes 20 ms where there is a compiler.
    """
    compiler = compilers(environ)[1]
    assembly = run_compiler(compiler, ("-O2", f"-march={processor}", "-S", "-o", "-"), _PROBE)
    if assembly is None or "ldtilecfg" not in assembly or _NUMBER in assembly:
        return ()
    return WITHOUT_AMX


def compilers(environ: Mapping[str, str] = os.environ) -> tuple[Sequence[str], Sequence[str]]:
    """The commands that compile C and C++, found as CMake finds them; empty where there is none."""
    return (
        _command(environ, "CC", ("cc", "gcc", "clang")),
        _command(environ, "CXX", ("c++", "g++", "clang++")),
    )


def run_compiler(command: Sequence[str], options: Sequence[str], source: str) -> str | None:
    """What the compiler prints for a C++ program on its stdin; None where it refuses."""
    if not command:
        return None
    try:
        done = subprocess.run(
            [*command, *options, "-x", "c++", "-"],
            input=source.encode(),
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")


def _command(environ: Mapping[str, str], variable: str, names: Sequence[str]) -> Sequence[str]:
    if chosen := environ.get(variable, "").strip():
        try:
            return shlex.split(chosen, posix=os.name == "posix")
        except ValueError:
            return ()
    path = environ.get("PATH")
    found = next((program for name in names if (program := shutil.which(name, path=path))), None)
    return (found,) if found else ()
