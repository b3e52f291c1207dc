"""Cores and caches in an answer of GetLogicalProcessorInformationEx.

Layouts: learn.microsoft.com, SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX and the structures it holds,
all little-endian:

    entry      u32 relationship, u32 size of the entry, then one of
    processor  u8 flags, u8 efficiency class (higher is faster), 20 reserved bytes, u16 groups,
               then that many affinities        (relationship 0: a core; 3: a package)
    node       u32 number, ...                  (relationship 1)
    cache      u8 level, u8 associativity, u16 line, u32 size, u32 type, 18 reserved bytes,
               u16 groups, then affinities      (relationship 2)
    affinity   u64 mask, u16 group, 6 reserved bytes
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from localq.hardware.profile import Cache, CacheKind

__all__ = ["Core", "Topology", "parse_topology"]

_CORE, _NODE, _CACHE, _PACKAGE = range(4)
_CACHE_KINDS: dict[int, CacheKind] = {0: "unified", 1: "instruction", 2: "data"}
_MAX_ENTRIES = 1 << 14
_MAX_GROUPS = 64


@dataclass(frozen=True, slots=True)
class Core:
    """Its speed class, higher is faster, and its logical CPUs as group times 64 plus number."""

    efficiency_class: int
    cpus: frozenset[int]


@dataclass(frozen=True, slots=True)
class Topology:
    cores: tuple[Core, ...] = ()
    packages: int = 0
    nodes: int = 0
    caches: tuple[Cache, ...] = ()
    """Those of the first core."""


def parse_topology(buffer: bytes) -> Topology:
    """What the buffer says; whatever in it makes no sense ends the reading."""
    cores: list[Core] = []
    caches: list[tuple[Cache, frozenset[int]]] = []
    packages = nodes = offset = 0
    for _ in range(_MAX_ENTRIES):
        if offset + 8 > len(buffer):
            break
        relationship, size = struct.unpack_from("<II", buffer, offset)
        entry = buffer[offset + 8 : offset + size]
        if size < 8 or offset + size > len(buffer):
            break
        offset += size
        if relationship == _CORE and len(entry) >= 24:
            cores.append(Core(entry[1], _cpus(entry, 22)))
        elif relationship == _CACHE and len(entry) >= 32:
            level, size_bytes, type_ = entry[0], *struct.unpack_from("<II", entry, 4)
            if kind := _CACHE_KINDS.get(type_):
                cpus = _cpus(entry, 30)
                caches.append((Cache(level, kind, size_bytes, len(cpus) or None), cpus))
        packages += relationship == _PACKAGE
        nodes += relationship == _NODE
    first = cores[0].cpus if cores else frozenset()
    return Topology(
        tuple(cores),
        packages,
        nodes,
        tuple(cache for cache, cpus in caches if cpus & first or not cpus),
    )


def _cpus(entry: bytes, offset: int) -> frozenset[int]:
    """The logical CPUs in a count of affinities at `offset`, padded to 8, and what follows."""
    (groups,) = struct.unpack_from("<H", entry, offset)
    cpus: set[int] = set()
    for index in range(min(max(groups, 1), _MAX_GROUPS)):  # older answers leave the count 0
        at = offset + 2 + index * 16
        if at + 10 > len(entry):
            break
        mask, group = struct.unpack_from("<QH", entry, at)
        cpus.update(group * 64 + bit for bit in range(64) if mask >> bit & 1)
    return frozenset(cpus)
