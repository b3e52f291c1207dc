"""Lock files: every package of an environment with its version and the hashes of its files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Pinned", "read_lock", "written"]

_PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)")
_OF_CUDA = ("nvidia-", "cuda-", "triton")
_OF_ALL = frozenset({"nvidia-ml-py"})


@dataclass(frozen=True, slots=True)
class Pinned:
    """One package; `text` is its lines in the lock file, with marker and hashes."""

    name: str
    version: str
    text: str

    @property
    def only_for_cuda(self) -> bool:
        """Whether torch needs it for GPUs alone."""
        return self.name.startswith(_OF_CUDA) and self.name not in _OF_ALL

    @property
    def bare(self) -> str:
        """Without its hashes."""
        return self.text.partition("\\\n")[0].strip()


def read_lock(text: str) -> tuple[Pinned, ...]:
    """The packages of a lock file such as `uv pip compile --generate-hashes` writes.

    ValueError for a line that is none of it.
    """
    pinned: list[Pinned] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("#") or not line.strip():
            continue
        if line[0].isspace() and pinned:
            last = pinned[-1]
            pinned[-1] = Pinned(last.name, last.version, last.text + line)
        elif match := _PIN.match(line):
            pinned.append(Pinned(match["name"].lower(), match["version"], line))
        else:
            raise ValueError(f"no package with a version: {line.strip()}")
    return tuple(pinned)


def written(pinned: Iterable[Pinned]) -> str:
    """A file of requirements with hashes, as pip and uv take them."""
    return "".join(one.text for one in pinned)
