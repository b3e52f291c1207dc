"""What the converter asks pip for: read from its requirements files, or known beforehand."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from localq.errors import BadFileError, LocalqError, UsageError
from localq.messages import msg

__all__ = ["Release", "Requirements", "installed_release", "read_requirements", "with_torch"]

TORCH_VARIABLE = "LOCALQ_TORCH"
_MAX_BYTES = 64 << 10
_MAX_FILES = 20
_TORCH = re.compile(r"torch(?![\w.-])", re.IGNORECASE)
_INCLUDE = re.compile(r"(?:-r|--requirement)[ =]\s*(.+)")
_INDEX = re.compile(r"--extra-index-url[ =]\s*(https://\S+)")


@dataclass(frozen=True, slots=True)
class Requirements:
    """Packages as pip takes them, and package indexes beside the user's own."""

    packages: tuple[str, ...]
    indexes: tuple[str, ...] = ()

    @property
    def torch(self) -> str | None:
        return next((package for package in self.packages if _TORCH.match(package)), None)


@dataclass(frozen=True, slots=True)
class Release:
    """A release of llama-cpp-python. `expected` is what its converter is thought to need, so that
    one can say how much that is before the archive that tells is there."""

    version: str
    archive_bytes: int
    expected: Requirements


def installed_release() -> Release:
    """The release that runs the models here; LocalqError if none is installed."""
    try:
        found = version("llama-cpp-python")
    except PackageNotFoundError:
        raise LocalqError(
            msg("llama-cpp-python is not installed"), hint=msg("pip install llama-cpp-python")
        ) from None
    # As llama-cpp-python 0.3.36 has it; later releases change a pin at most.
    return Release(
        found,
        76_600_000,
        Requirements(
            (
                "numpy~=2.2.6",
                "sentencepiece>=0.1.98,<0.3.0",
                "transformers==4.57.6",
                "gguf>=0.1.0",
                "protobuf>=4.21.0,<5.0.0",
                "torch==2.11.0",
            ),
            ("https://download.pytorch.org/whl/cpu",),
        ),
    )


def read_requirements(file: Path) -> Requirements:
    """The requirements of `file` and of those it includes, which must lie in the same folder.

    BadFileError for options other than these and an extra https index.
    """
    packages: dict[str, None] = {}
    indexes: dict[str, None] = {}
    todo, seen = [file], {file}
    while todo:
        current = todo.pop(0)
        included: list[Path] = []
        for line in _lines(current):
            if match := _INCLUDE.fullmatch(line):
                other = file.parent / Path(match[1]).name
                if other not in seen:
                    seen.add(other)
                    included.append(other)
            elif match := _INDEX.fullmatch(line):
                indexes[match[1]] = None
            elif line.startswith("-"):
                raise BadFileError(
                    current, msg("has an option localq does not pass on: {line}", line=line[:100])
                )
            else:
                packages[line] = None
        if len(seen) > _MAX_FILES:
            raise BadFileError(current, msg("includes too many files"))
        todo[:0] = included
    return Requirements(tuple(packages), tuple(indexes))


def with_torch(requirements: Requirements, environ: Mapping[str, str] = os.environ) -> Requirements:
    """The same, with the torch that LOCALQ_TORCH names instead (such as torch==2.13.0)."""
    option = environ.get(TORCH_VARIABLE, "").strip()
    if not option or requirements.torch is None:
        return requirements
    if not _TORCH.match(option) or not option.isprintable():
        raise UsageError(
            msg(
                "{torch_variable}={option!r} is no requirement of torch",
                torch_variable=TORCH_VARIABLE,
                option=option[:80],
            ),
            hint=msg("write it as {torch_variable}=torch==2.13.0", torch_variable=TORCH_VARIABLE),
        )
    packages = (option if _TORCH.match(package) else package for package in requirements.packages)
    return replace(requirements, packages=tuple(packages))


def _lines(file: Path) -> list[str]:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise BadFileError(
            file, msg("cannot be read: {strerror}", strerror=error.strerror or error)
        ) from error
    if len(data) > _MAX_BYTES:
        raise BadFileError(
            file, msg("{data:,} bytes are too many for requirements", data=len(data))
        )
    lines = (re.sub(r"(^|\s)#.*", "", line) for line in data.decode("utf-8", "replace").split("\n"))
    return [" ".join(line.split()) for line in lines if line.strip()]
