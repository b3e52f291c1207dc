"""The compiler options that the engine needs on this machine, as lines for a shell.

    eval "$(python3 packaging/engine_flags.py)"    # then compile llama-cpp-python as usual

Another processor may be named, as gcc's -march names it. Prints nothing where the compiler and the
processor get on with each other.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from localq.hardware.compiler import compiler_flags


def build_environment(environ: Mapping[str, str], processor: str = "native") -> dict[str, str]:
    """The variables to set for a build, with what they hold already in front."""
    flags = compiler_flags(environ, processor)
    if not flags:
        return {}
    return {
        variable: " ".join(filter(None, (environ.get(variable, ""), *flags)))
        for variable in ("CFLAGS", "CXXFLAGS")
    }


if __name__ == "__main__":
    for name, value in build_environment(os.environ, *sys.argv[1:2]).items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
