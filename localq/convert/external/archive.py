"""The converter's files out of a source archive, which is not taken to be well-meant."""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from localq.errors import BadFileError, storage_errors
from localq.messages import msg

__all__ = ["REQUIREMENTS", "SCRIPT", "unpack_converter"]

SCRIPT = "convert_hf_to_gguf.py"
REQUIREMENTS = "requirements/requirements-convert_hf_to_gguf.txt"

_TREE = ("vendor", "llama.cpp")
_FILES = frozenset([SCRIPT, "LICENSE", "AUTHORS"])
_FOLDERS = (
    ("conversion",),
    ("gguf-py",),
    ("licenses",),
    ("requirements",),
    ("models", "templates"),  # chat templates that some conversions put in
)
# For checkpoints that bring no tokenizer, as those of Mamba do.
_VOCABULARIES = frozenset(["ggml-vocab-gpt-neox.gguf", "ggml-vocab-llama-spm.gguf"])
_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")

# The release of 2026 holds 3,884 files of 219 MB, 6 MB in some 200 files of it the converter's.
_MAX_MEMBERS = 100_000
_MAX_ARCHIVE_BYTES = 2 << 30
_MAX_FILE_BYTES = 16 << 20
_MAX_FILES = 5_000
_MAX_BYTES = 128 << 20


def unpack_converter(archive: Path, folder: Path) -> None:
    """Write the converter of the sdist `archive` (a .tar.gz) into the empty `folder`.

    Only its script, packages, templates, requirements and licences. BadFileError, with some
    files perhaps written, for an archive that is damaged, leads outside, holds links where files
    should be, or is beyond all measure.
    """
    written = 0
    files: set[PurePosixPath] = set()
    try:
        with gzip.open(archive) as stream:
            bounded = cast(IO[bytes], _Bounded(cast(IO[bytes], stream), archive))
            with tarfile.open(fileobj=bounded, mode="r|") as tar:
                for member in _members(tar, archive):
                    place = _wanted(member.name)
                    if place is None or member.isdir():
                        continue
                    _refuse_odd(member, place, archive)
                    written += member.size
                    if place in files or len(files) >= _MAX_FILES or written > _MAX_BYTES:
                        raise BadFileError(
                            archive, msg("holds {place} twice, or far too much", place=place)
                        )
                    files.add(place)
                    source = tar.extractfile(member)
                    assert source is not None
                    _write(folder / place, source.read(member.size))
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadFileError(archive, msg("not a whole .tar.gz: {error}", error=error)) from error
    for needed in (SCRIPT, REQUIREMENTS):
        if PurePosixPath(needed) not in files:
            raise BadFileError(
                archive, msg("has no {tree}/{needed}", tree="/".join(_TREE), needed=needed)
            )


def _members(tar: tarfile.TarFile, archive: Path) -> Iterator[tarfile.TarInfo]:
    for number, member in enumerate(tar):
        if number >= _MAX_MEMBERS:
            raise BadFileError(
                archive, msg("holds more than {max_members:,} files", max_members=_MAX_MEMBERS)
            )
        yield member


def _wanted(name: str) -> PurePosixPath | None:
    """Where the member goes, relative to the folder; None: it is not the converter's."""
    parts = name.split("/")
    if tuple(parts[1:3]) != _TREE or len(parts) < 4:
        return None
    inner = tuple(parts[3:])
    wanted = (
        any(inner[: len(folder)] == folder for folder in _FOLDERS)
        or (len(inner) == 1 and inner[0] in _FILES)
        or (len(inner) == 2 and inner[0] == "models" and inner[1] in _VOCABULARIES)
    )
    return PurePosixPath(*inner) if wanted else None


def _refuse_odd(member: tarfile.TarInfo, place: PurePosixPath, archive: Path) -> None:
    shown = repr(member.name[:200])
    if not all(_COMPONENT.fullmatch(part) for part in place.parts) or len(place.parts) > 12:
        raise BadFileError(archive, msg("the name {shown} is not one localq unpacks", shown=shown))
    if not member.isreg() or member.issparse():
        raise BadFileError(archive, msg("{shown} is no plain file", shown=shown))
    if not 0 <= member.size <= _MAX_FILE_BYTES:
        raise BadFileError(
            archive,
            msg("{shown} has {size:,} bytes, too many for a script", shown=shown, size=member.size),
        )


def _write(path: Path, data: bytes) -> None:
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(data)


class _Bounded:
    """A stream that says no before a small archive has become an endless one."""

    def __init__(self, stream: IO[bytes], archive: Path) -> None:
        self._stream = stream
        self._archive = archive
        self._left = _MAX_ARCHIVE_BYTES

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise BadFileError(
                self._archive,
                msg(
                    "unpacks to more than {max_archive_bytes:,} bytes",
                    max_archive_bytes=_MAX_ARCHIVE_BYTES,
                ),
            )
        return data
