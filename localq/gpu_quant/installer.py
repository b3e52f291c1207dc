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
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

__all__ = ["Installer", "choose_installer", "find_uv", "own_pip"]

TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"

_UV_SOURCES = (
    *("UV_INDEX", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"),
    *("UV_NO_INDEX", "UV_OFFLINE", "UV_CONFIG_FILE"),
)
_PIP_SOURCE = re.compile(r"^[^=\s]*\.(?:index-url|extra-index-url|find-links|no-index)=", re.M)
_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Installer:
    """`python` is that of the environment, `program` uv's or pip's command, `own_source` whether
    the user named an index."""

    name: Literal["uv", "pip"]
    python: Path
    program: Sequence[str | Path]
    own_source: bool

    def install(self, *arguments: str | Path) -> Sequence[str | Path]:
        """The command that installs into the environment."""
        if self.name == "uv":
            options: list[str | Path] = ["pip", "install", "--python", self.python, "--no-progress"]
        else:
            # What is never imported need not be compiled: a third of the time.
            options = ["install", "--no-compile", "--no-input", "--progress-bar", "off"]
        return [*self.program, *options, *arguments]

    @property
    def torch_for_cpu(self) -> Sequence[str]:
        """What to add where torch for Linux is to be the one for processors."""
        return () if self.own_source else ("--index-url", TORCH_CPU_INDEX)


def choose_installer(
    python: Path, environment: Mapping[str, str], *, pip: Sequence[str | Path] | None
) -> Installer:
    """What installs into the environment of `python`; where there is no `pip`, uv is there."""
    uv = find_uv()
    uv_told = any(environment.get(name) for name in _UV_SOURCES)
    if pip is None or (uv and uv_told):
        return Installer("uv", python, (uv or "uv",), uv_told)
    pip_told = bool(_PIP_SOURCE.search(_pip_settings(pip, environment)))
    if uv and not pip_told:
        return Installer("uv", python, (uv,), False)
    return Installer("pip", python, pip, pip_told)


def own_pip(python: Path) -> Sequence[str | Path] | None:
    """localq's own pip, working on the environment of `python`; None where it has none."""
    if find_spec("pip") is None:
        return None
    return [sys.executable, "-I", "-m", "pip", "--disable-pip-version-check", "--python", python]


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


def _pip_settings(pip: Sequence[str | Path], environment: Mapping[str, str]) -> str:
    """What `pip config list` says: settings of files and of variables."""
    try:
        said = subprocess.run(
            [*pip, "config", "list"],
            env=dict(environment),
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.decode(errors="replace")
