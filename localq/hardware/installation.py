"""The commands that install the engine anew, with what a machine needs.

llama-cpp-python's README names the indexes of ready wheels and the CMake options of each backend;
its release workflows say which wheels exist. Every command pins the release that is installed:
pip would else prefer a newer source release of PyPI to the wheel that was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from localq.hardware.compiler import WITHOUT_AMX
from localq.messages import msg

__all__ = ["Installer", "cuda_wheels"]

_INDEX = "https://abetlen.github.io/llama-cpp-python/whl"
_REQUIREMENT = "llama-cpp-python>=0.3.36,<0.4"
# CUDA version -> the least and the greatest compute capability its wheels have code for.
_CUDA_WHEELS: Mapping[tuple[int, int], tuple[tuple[int, int], tuple[int, int]]] = {
    (11, 8): ((6, 0), (8, 9)),
    (12, 1): ((6, 0), (99, 0)),
    (12, 2): ((6, 0), (99, 0)),
    (12, 3): ((6, 0), (99, 0)),
    (12, 4): ((6, 0), (99, 0)),
    (12, 5): ((6, 0), (99, 0)),
    (13, 0): ((7, 5), (99, 0)),
    (13, 2): ((7, 5), (99, 0)),
}
_NOT_FOR_WINDOWS = frozenset({(12, 1), (12, 2), (12, 3)})
_RELEASE = re.compile(r"[0-9][0-9a-z.]*(\+|$)")
_X86 = ("x86_64", "AMD64")


@dataclass(frozen=True, slots=True)
class Installer:
    """How packages come into the environment this localq runs in."""

    python: str
    """The interpreter's path, to be named in commands."""
    has_pip: bool = True
    """Without it (uv makes such environments) the commands use `uv pip`."""
    os: str = "linux"
    architecture: str = "x86_64"
    engine_version: str | None = None
    compiler_flags: Callable[[], Sequence[str]] = tuple
    """What the compiler here has to be told (`localq.hardware.compiler`), asked where needed."""

    def wheel(self, index: str) -> str:
        """Install a ready wheel from the index `cpu`, `cu124`, `metal`, `vulkan`, ..."""
        return (
            f"{self._install()} --no-deps --only-binary llama-cpp-python"
            f" {self._requirement()} --extra-index-url {_INDEX}/{index}"
        )

    def build(self, cmake_options: str = "") -> str:
        """Compile it here, for this very processor, with these CMake options."""
        # Without --no-cache-dir pip takes the wheel it compiled the last time, options or not.
        no_cache = "--no-cache-dir" if self.has_pip else "--no-cache"
        command = (
            f"{self._install()} --no-deps {no_cache} --no-binary llama-cpp-python"
            f" {self._requirement()}"
        )
        flags = " ".join(self.compiler_flags())
        variables = {"CMAKE_ARGS": cmake_options, "CFLAGS": flags, "CXXFLAGS": flags}
        for name, value in reversed(variables.items()):
            if value and self.os == "windows":
                command = f'$env:{name}="{value}"; {command}'
            elif value:
                command = f'{name}="{value}" {command}'
        return command

    @property
    def leaves_out(self) -> frozenset[str]:
        """Instruction sets that a build here would not use, because the compiler breaks them."""
        return frozenset({"AMX_INT8"} if set(WITHOUT_AMX) <= set(self.compiler_flags()) else ())

    def cuda_index(
        self, driver: tuple[int, int] | None, capabilities: Collection[tuple[int, int]]
    ) -> str | None:
        """The newest index of CUDA wheels that the driver and all of the GPUs can run."""
        if driver is None or self.architecture not in _X86:
            return None
        return next(iter(cuda_wheels(driver, capabilities, windows=self.os == "windows")), None)

    def _install(self) -> str:
        python = self._quoted(self.python)
        if not self.has_pip:
            return msg(
                "uv pip install --python {python} --reinstall-package llama-cpp-python",
                python=python,
            )
        if self.os == "windows" and python != self.python:
            python = f"& {python}"  # PowerShell runs a quoted path only so
        return msg("{python} -m pip install --force-reinstall", python=python)

    def _requirement(self) -> str:
        if self.engine_version and _RELEASE.match(self.engine_version):
            return msg(
                "llama-cpp-python=={engine_version}",
                engine_version=self.engine_version.partition("+")[0],
            )
        return msg('"{requirement}"', requirement=_REQUIREMENT)

    @staticmethod
    def _quoted(path: str) -> str:
        plain = all(c.isalnum() or c in "/\\._-+:" for c in path)
        return path if plain else msg('"{path}"', path=path)


def cuda_wheels(
    driver: tuple[int, int], capabilities: Collection[tuple[int, int]], *, windows: bool = False
) -> tuple[str, ...]:
    """The tags of the wheels that would run, newest first; for unknown GPUs the broadest."""
    fit = [
        cuda
        for cuda, (least, greatest) in _CUDA_WHEELS.items()
        if cuda <= driver
        and not (windows and cuda in _NOT_FOR_WINDOWS)
        and (capabilities or cuda[0] == 12)
        and all(least <= capability <= greatest for capability in capabilities)
    ]
    return tuple(f"cu{major}{minor}" for major, minor in sorted(fit, reverse=True))
