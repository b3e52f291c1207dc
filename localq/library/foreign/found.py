"""What is found in another program's folder, and how that is looked through safely."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from localq.messages import msg

__all__ = [
    "ForeignModel",
    "FoundFile",
    "Skipped",
    "children",
    "group_ggufs",
    "plain_file",
    "read_text",
    "walk_files",
]

_MAX_CHILDREN = 10_000
_MAX_FILES = 50_000
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FoundFile:
    """`path` is what it is called there, perhaps a link; `real` the plain file it leads to."""

    path: Path
    real: Path
    size_bytes: int
    sha256: str | None = None
    """What the other program says its content is."""


@dataclass(frozen=True, slots=True)
class ForeignModel:
    """A model. `repo` is "org/name" if the program knows where it came from."""

    tool: str
    label: str
    """What the program calls it."""
    files: tuple[FoundFile, ...]
    """A GGUF or its shards in order, or a checkpoint's files."""
    folder: Path | None = None
    """Of a checkpoint."""
    repo: str | None = None
    revision: str | None = None
    from_hub: bool = False
    """Whether `repo` is one of the Hub."""
    notes: tuple[str, ...] = field(default=())

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that looks like a model but will not be taken."""

    label: str
    why: str


def children(folder: Path) -> list[Path]:
    """What is in a folder, by name; nothing for one that is none or may not be read."""
    try:
        with os.scandir(folder) as entries:
            found = [Path(entry.path) for _, entry in zip(range(_MAX_CHILDREN), entries)]  # noqa: B905
    except OSError:
        return []
    return sorted(found)


def walk_files(folder: Path, depth: int) -> Iterator[Path]:
    """Files and links below `folder`, at most `depth` folders deep; links are not followed."""
    left = _MAX_FILES
    waiting = [(folder, depth)]
    while waiting and left:
        here, levels = waiting.pop()
        for path in reversed(children(here)):
            left -= 1
            if path.is_dir() and not path.is_symlink():
                if levels:
                    waiting.append((path, levels - 1))
            elif left > 0:
                yield path


def plain_file(path: Path, within: Path, sha256: str | None = None) -> FoundFile | str:
    """`path` as a file of the program's folder `within`, or why it is none."""
    try:
        real = path.resolve(strict=True)
        status = real.lstat()
    except OSError as error:
        return msg("{path}: {strerror}", path=path, strerror=error.strerror or error)
    except RuntimeError:  # Python 3.11 and 3.12 say so of a link that leads to itself
        return msg("{path}: leads round in a circle", path=path)
    if not real.is_relative_to(within.resolve()):
        return msg("{path}: is a link that leads elsewhere, to {real}", path=path, real=real)
    if not stat.S_ISREG(status.st_mode):
        return msg("{path}: is not a plain file", path=path)
    return FoundFile(path, real, status.st_size, sha256)


def group_ggufs(paths: Sequence[Path]) -> list[list[Path]]:
    """GGUF files as models: shards of one model together, in order, first shard first."""
    groups: dict[Path, list[Path]] = {}
    for path in sorted(paths):
        if path.suffix.lower() != ".gguf":
            continue
        match = _SHARD.fullmatch(path.name)
        key = path.with_name(f"{match['stem']}-of-{match['count']}") if match else path
        groups.setdefault(key, []).append(path)
    return list(groups.values())


def read_text(path: Path, within: Path, max_bytes: int = 1 << 20) -> str | None:
    """A small text file of the program's; None where it is none, or too large."""
    found = plain_file(path, within)
    if isinstance(found, str) or found.size_bytes > max_bytes:
        return None
    try:
        with found.real.open("rb") as file:
            return file.read(max_bytes).decode("utf-8", "replace")
    except OSError:
        return None
