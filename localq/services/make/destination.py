"""Where a file made from a model goes, what it is called, and whether it fits there."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from localq.errors import LibraryError, StorageError, UsageError
from localq.events import Emit, Note
from localq.formats.types import QuantType
from localq.library import Library, Model, ModelSource
from localq.messages import msg

__all__ = [
    "existing_folder",
    "made_before",
    "outside_file",
    "repo_of",
    "require_space",
    "target_of",
]

_LOCAL_ORGANISATION = "local"
"""Stands for the organisation in the name of what was made from a folder or file on disk."""


def repo_of(source: Model) -> str:
    """The name of the model whatever its quantization: that of the checkpoint."""
    if source.name != str(source.path):
        return source.name.rpartition(":")[0] or source.name
    path = source.path.resolve()
    return f"{_LOCAL_ORGANISATION}/{path.stem if path.is_file() else path.name}"


def target_of(
    library: Library, source: Model, type_: QuantType, output: Path | None, *, force: bool
) -> Path:
    """The file to make: `output`, a file in the folder `output`, or (None) one in the library.

    Never the source itself; LibraryError for a file that is there, unless `force`.
    """
    repo = repo_of(source)
    if output is None:
        target = library.gguf_path(repo, type_.name)
        if target == source.path:
            raise UsageError(msg("{name} is {name2} already", name=source.name, name2=type_.name))
        return target
    name = f"{repo.rpartition('/')[2]}-{type_.name}.gguf"
    target = outside_file(library, output, name)
    if target.exists():
        if target.samefile(source.path):
            raise UsageError(
                msg("{target}: is the input itself", target=target), hint=msg("choose another name")
            )
        if not force:
            raise LibraryError(
                msg("{target}: is there already", target=target),
                hint=msg("replace it with --force"),
            )
    return target


def outside_file(library: Library, output: Path, name: str) -> Path:
    """The GGUF to make outside the library: `output`, or `name` in that folder."""
    target = output.expanduser().absolute()
    if target.is_dir():
        target /= name
    if not target.parent.is_dir():
        raise StorageError(
            msg("{parent}: no such folder", parent=target.parent), hint=msg("make it first")
        )
    if target.suffix != ".gguf":
        raise UsageError(
            msg("{name}: the output must be named *.gguf", name=target.name),
            hint=msg("try -o {target}.gguf", target=target),
        )
    if target.resolve().is_relative_to(library.paths.models.resolve()):
        raise UsageError(
            msg("{target}: is inside localq's own library", target=target),
            hint=msg("choose a place outside with -o"),
        )
    return target


def made_before(
    library: Library,
    repo: str,
    type_: QuantType,
    emit: Emit,
    *,
    source: ModelSource,
    since: float = 0.0,
    is_plain: bool = True,
) -> Model | None:
    """The same type of the same revision, made before: a Note says so, it counts as used now.

    LibraryError where it is of another revision, was made before the time `since`, or may be
    something else because what is wanted is not plain.
    """
    made = library.get(f"{repo}:{type_.name}")
    if made is None or not made.path.is_file():
        return None
    if made.source != source or since > made.created_at:
        raise LibraryError(
            msg("{name} was made from another revision of the model", name=made.name),
            hint=msg("make it anew with --force"),
        )
    if not is_plain:
        raise LibraryError(
            msg("{name} is there already", name=made.name), hint=msg("replace it with --force")
        )
    emit(Note(msg("{name} is there already; --force makes it anew", name=made.name)))
    library.touch(made.name)
    return library.find(made.name)


def require_space(folder: Path, size_bytes: int, begun: Sequence[Path] = ()) -> None:
    """StorageError unless `folder`'s disk has room for files of that size in all.

    What was `begun` before counts as room: it is taken from the disk already.
    """
    free = shutil.disk_usage(folder).free
    for path in begun:
        with suppress(FileNotFoundError):
            free += getattr(path.stat(), "st_blocks", 0) * 512  # not its holes
    if size_bytes > free:
        raise StorageError(
            msg(
                "{folder}: the file needs {size_bytes:,} bytes, the disk has {free:,} left",
                folder=folder,
                size_bytes=size_bytes,
                free=free,
            ),
            hint=msg(
                "free some space (localq trash empty), take a smaller type, or another disk: -o"
            ),
        )


def existing_folder(folder: Path) -> Path:
    """`folder` or the nearest one above it that is there: the disk it will be on."""
    return next(path for path in (folder, *folder.parents) if path.is_dir())
