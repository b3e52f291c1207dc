"""What Windows says through kernel32 and the registry. None of it can be had on other systems."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Adapter", "WindowsAnswers", "WindowsMemory"]


@dataclass(frozen=True, slots=True)
class WindowsMemory:
    """Bytes, as GlobalMemoryStatusEx gives them; the commit limit holds memory and page files."""

    total: int
    available: int
    commit_limit: int
    commit_available: int


@dataclass(frozen=True, slots=True)
class Adapter:
    """A display adapter of the registry; `memory_bytes` as its driver wrote it there."""

    name: str
    provider: str | None = None
    driver: str | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class WindowsAnswers:
    processors: bytes = b""
    """The answer of GetLogicalProcessorInformationEx to RelationAll."""
    allowed_cpus: frozenset[int] | None = None
    """Group times 64 plus number."""
    features: frozenset[int] = frozenset()
    """The PF_ constants of winnt.h for which IsProcessorFeaturePresent says yes."""
    processor: str | None = None
    vendor: str | None = None
    memory: WindowsMemory | None = None
    adapters: tuple[Adapter, ...] = ()
