"""A folder on this machine as a source, such as the demo model that localq carries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from localq.errors import BadFileError, NotFoundError
from localq.hub.source import Digest, DigestKind, RemoteFile, Stream
from localq.messages import msg

__all__ = ["FolderSource"]

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class FolderSource:
    """The plain files directly in a folder, described when the source is made."""

    root: Path
    repo: str
    revision: str
    files: tuple[RemoteFile, ...]

    @classmethod
    def of(cls, root: Path, *, repo: str, revision: str) -> FolderSource:
        """Describe the folder `root`; NotFoundError where there is none."""
        if not root.is_dir():
            raise NotFoundError(
                msg("{root}: no such folder", root=root), hint=msg("reinstall localq")
            )
        paths = sorted(path for path in root.iterdir() if path.is_file())
        return cls(root, repo, revision, tuple(map(_describe, paths)))

    @contextmanager
    def open(self, file: RemoteFile, offset: int, end: int | None = None) -> Iterator[Stream]:
        path = self.root / file.path
        try:
            with path.open("rb") as opened:
                opened.seek(offset)
                yield Stream(offset, iter(partial(opened.read, _CHUNK), b""))
        except FileNotFoundError as error:
            raise BadFileError(
                path, msg("cannot be read: {strerror}", strerror=error.strerror)
            ) from error


def _describe(path: Path) -> RemoteFile:
    from hashlib import file_digest

    with path.open("rb") as opened:
        digest = file_digest(opened, "sha256").hexdigest()
    return RemoteFile(path.name, path.stat().st_size, Digest(DigestKind.SHA256, digest))
