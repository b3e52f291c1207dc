"""Which program installs packages, and from where: as the user has set it up.

uv is quicker, but reads nothing of pip's settings. So where pip has been told of an index, a
mirror or a folder of wheels, and uv has not, pip does it. Where either was told of its own source,
that is used for everything; else torch for processors comes from PyTorch's index, because the
torch of PyPI for Linux is the one for CUDA.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Installer", "choose_installer", "find_uv"]

TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"

_UV_SOURCES = (
    *("UV_INDEX", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"),
    *("UV_NO_INDEX", "UV_OFFLINE", "UV_CONFIG_FILE"),
)
_PIP_SOURCE = re.compile(r"^[^=\s]*\.(?:index-url|extra-index-url|find-links|no-index)=", re.M)
_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Installer:
    """`uv` is its program, None for pip; `own_source` whether the user named an index."""

    python: Path
    uv: str | None
    own_source: bool

    @property
    def name(self) -> str:
        return "uv" if self.uv else "pip"

    def install(self, *arguments: str | Path) -> Sequence[str | Path]:
        """The command that installs into `python`'s environment."""
        if self.uv:
            return [self.uv, "pip", "install", "--python", self.python, "--no-progress", *arguments]
        # What is never imported need not be compiled: a third of the time, and of the CPU's.
        quiet = ("--no-input", "--disable-pip-version-check", "--progress-bar", "off")
        pip: list[str | Path] = [self.python, "-I", "-m", "pip", "install", "--no-compile", *quiet]
        return [*pip, *arguments]

    @property
    def torch_for_cpu(self) -> Sequence[str]:
        """What to add where torch for Linux is to be the one for processors."""
        return () if self.own_source else ("--index-url", TORCH_CPU_INDEX)


def choose_installer(
    python: Path, environment: Mapping[str, str], *, has_pip: bool, uv: str | None
) -> Installer:
    """For the environment of `python`; uv has to be there where it `has_pip` not."""
    uv_told = any(environment.get(name) for name in _UV_SOURCES)
    if not has_pip:
        return Installer(python, uv, uv_told)
    if uv and uv_told:
        return Installer(python, uv, True)
    pip_told = bool(_PIP_SOURCE.search(_pip_settings(python, environment)))
    return Installer(python, None if pip_told else uv, pip_told)


def find_uv() -> str | None:
    """uv's program, tried: a stand-in on the PATH may lead nowhere."""
    program = shutil.which("uv")
    if program is None:
        return None
    try:
        tried = subprocess.run(
            [program, "--version"], capture_output=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return os.fspath(program) if tried.returncode == 0 else None


def _pip_settings(python: Path, environment: Mapping[str, str]) -> str:
    """What `pip config list` says: settings of files and of variables."""
    try:
        said = subprocess.run(
            [python, "-I", "-m", "pip", "config", "list"],
            env=dict(environment),
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.decode(errors="replace")
