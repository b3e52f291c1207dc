"""Which files a user wants besides those that a model needs, and which not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

__all__ = ["Selection"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Patterns as a shell's, of which `*` crosses folders too; "onnx/" means all in that folder.

    `everything` begins with all files instead of the needed ones.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    everything: bool = False

    def includes(self, path: str) -> bool:
        """Whether the user asks for this file."""
        return (self.everything or _any(path, self.include)) and not self.excludes(path)

    def excludes(self, path: str) -> bool:
        return _any(path, self.exclude)


def _any(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(path, p + "*" if p.endswith("/") else p) for p in patterns)
