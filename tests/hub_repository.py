"""A folder as a repository of the loopback Hub: small files are remembered as they are when it is
added, large ones stay on disk and are hashed once, when somebody asks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.hub_server import HubServer

__all__ = ["Content", "Files", "Repo", "read_repo"]

_LFS_SUFFIXES = (".safetensors", ".gguf", ".bin", ".model")
_REMEMBERED = 4 << 20
_BLOCK = 1 << 20


@dataclass(slots=True)
class Content:
    """The bytes of one file: here, or (`path`) on disk."""

    size: int
    data: bytes | None = None
    path: Path | None = None
    _digests: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path) -> Content:
        size = path.stat().st_size
        return cls(size, path.read_bytes()) if size <= _REMEMBERED else cls(size, path=path)

    def blocks(self, begin: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `begin` to `end`, in pieces of at most a megabyte."""
        end = self.size if end is None else end
        if self.data is not None:
            yield from (self.data[at : min(at + _BLOCK, end)] for at in range(begin, end, _BLOCK))
            return
        assert self.path is not None
        with self.path.open("rb") as opened:
            opened.seek(begin)
            while begin < end and (block := opened.read(min(_BLOCK, end - begin))):
                begin += len(block)
                yield block

    def read(self) -> bytes:
        return b"".join(self.blocks())

    def sha256(self) -> str:
        return self._digest("sha256", b"")

    def blob_id(self) -> str:
        return self._digest("sha1", b"blob %d\0" % self.size)

    def _digest(self, name: str, prefix: bytes) -> str:
        if name not in self._digests:
            hasher = hashlib.new(name, prefix)
            for block in self.blocks():
                hasher.update(block)
            self._digests[name] = hasher.hexdigest()
        return self._digests[name]


class Files(MutableMapping[str, bytes]):
    """The files by their paths; reading one as bytes is for tests, which have small ones."""

    def __init__(self, contents: Mapping[str, Content]) -> None:
        self.contents = dict(contents)

    def __getitem__(self, path: str) -> bytes:
        return self.contents[path].read()

    def __contains__(self, path: object) -> bool:
        return path in self.contents  # without reading it

    def __setitem__(self, path: str, data: bytes) -> None:
        self.contents[path] = Content(len(data), data)

    def __delitem__(self, path: str) -> None:
        del self.contents[path]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.contents))

    def __len__(self) -> int:
        return len(self.contents)

    def __ior__(self, others: Mapping[str, bytes]) -> Files:
        self.update(others)
        return self


@dataclass(slots=True)
class Repo:
    """A served folder. The commit is fixed when it is added; `branches` point to it."""

    name: str
    files: Files
    commit: str
    branches: set[str]
    gated_for: str | None = None
    """The token that opens it; None: it is open to all."""
    private_for: str | None = None
    """The token without which the Hub says that there is no such repository."""
    extra_entries: list[dict[str, Any]] = field(default_factory=list)
    """What the file list claims besides."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the Hub says of it besides, by the names of its API: downloads, likes, cardData..."""
    elsewhere: HubServer | None = None
    """Another server that large files are redirected to."""
    earlier: dict[str, Repo] = field(default_factory=dict)
    """What it held before, by commit."""

    def at(self, revision: str) -> Repo | None:
        """What a branch or a commit stands for."""
        if revision == self.commit or revision in self.branches:
            return self
        return self.earlier.get(revision)

    def entry(self, path: str) -> dict[str, Any]:
        """A file as the tree lists it."""
        content = self.files.contents[path]
        entry: dict[str, Any] = {"type": "file", "path": path, "size": content.size}
        if not path.endswith(_LFS_SUFFIXES):
            return entry | {"oid": content.blob_id()}
        sha256 = content.sha256()
        entry["oid"] = hashlib.sha1(sha256.encode()).hexdigest()
        return entry | {"lfs": {"oid": sha256, "size": content.size, "pointerSize": 134}}

    def entries(self) -> Iterator[dict[str, Any]]:
        for path in sorted(self.files):
            yield self.entry(path)
        yield from map(_folder_entry, sorted(self.folders()))

    def folders(self) -> set[str]:
        parts = [path.split("/")[:-1] for path in self.files]
        return {"/".join(p[:depth]) for p in parts for depth in range(1, len(p) + 1)}

    def paths_info(self, paths: list[str]) -> list[dict[str, Any]]:
        """The entries of those paths that there are."""
        found = [self.entry(path) for path in paths if path in self.files]
        return found + [_folder_entry(path) for path in paths if path in self.folders()]

    def info(self, *, blobs: bool = False) -> dict[str, Any]:
        """All that the Hub's API says of a model."""
        siblings: list[dict[str, Any]] = []
        for path in sorted(self.files):
            sibling: dict[str, Any] = {"rfilename": path}
            if blobs:
                entry = self.entry(path)
                sibling |= {"size": entry["size"], "blobId": entry["oid"]}
                if lfs := entry.get("lfs"):
                    sibling["lfs"] = {"sha256": lfs["oid"], "size": lfs["size"], "pointerSize": 134}
            siblings.append(sibling)
        formats = {path.rpartition(".")[2] for path in self.files} & {"gguf", "safetensors"}
        parameters = self._parameters()
        return {
            "id": self.name,
            "author": self.name.partition("/")[0],
            "sha": self.commit,
            "private": self.private_for is not None,
            "gated": "manual" if self.gated_for else False,
            "downloads": 0,
            "likes": 0,
            "lastModified": "2026-01-02T03:04:05.000Z",
            "createdAt": "2026-01-01T00:00:00.000Z",
            "pipeline_tag": "text-generation",
            "tags": sorted(formats),
            "cardData": {},
            "siblings": siblings,
            **({"safetensors": {"parameters": parameters, "total": sum(parameters.values())}}),
            **self.facts,
        }

    def _parameters(self) -> dict[str, int]:
        """How many numbers of each type the safetensors files hold, by their headers."""
        counts: dict[str, int] = {}
        for path in self.files:
            if not path.endswith(".safetensors"):
                continue
            content = self.files.contents[path]
            length = int.from_bytes(b"".join(content.blocks(0, min(8, content.size))), "little")
            if not 0 < length <= content.size - 8:
                continue
            try:
                header = json.loads(b"".join(content.blocks(8, 8 + length)))
            except ValueError:
                continue
            for name, tensor in header.items():
                if name != "__metadata__":
                    number = 1
                    for dimension in tensor["shape"]:
                        number *= dimension
                    counts[tensor["dtype"]] = counts.get(tensor["dtype"], 0) + number
        return counts


def read_repo(name: str, folder: Path, branch: str) -> Repo:
    """What is in `folder` now, as a commit. Its number depends on the names and contents; of
    large files, on their sizes and times instead."""
    files = Files(
        {
            path.relative_to(folder).as_posix(): Content.of(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
    )
    commit = hashlib.sha1()
    for path, content in sorted(files.contents.items()):
        known = content.data
        if known is None:
            assert content.path is not None
            known = b"%d %d" % (content.size, content.path.stat().st_mtime_ns)
        commit.update(b"%s\0%d\0" % (path.encode(), len(known)) + known)
    return Repo(name, files, commit.hexdigest(), {branch})


def _folder_entry(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "size": 0, "oid": "0" * 40}
