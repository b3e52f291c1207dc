"""Sessions out of the store into files, and from files into the store."""

from __future__ import annotations

import os
from pathlib import Path

from localq.errors import BadFileError, LibraryError, NotFoundError, UsageError, storage_errors
from localq.messages import msg
from localq.partials import write_whole
from localq.sessions import Session, SessionStore
from localq.sessions.exports import ExportFormat, export
from localq.sessions.imports import MAX_IMPORT, read_session

__all__ = ["export_session", "export_text", "format_for", "import_session"]

_ENDINGS = {
    ".md": ExportFormat.MARKDOWN,
    ".markdown": ExportFormat.MARKDOWN,
    ".json": ExportFormat.JSON,
    ".html": ExportFormat.HTML,
    ".htm": ExportFormat.HTML,
}


def format_for(path: Path) -> ExportFormat:
    """What a file's name asks for: .md, .json or .html. UsageError."""
    form = _ENDINGS.get(path.suffix.lower())
    if form is None:
        raise UsageError(
            msg("{path}: its name does not say in which format", path=path),
            hint=msg("name it .md, .json or .html, or give --format"),
        )
    return form


def export_text(store: SessionStore, session_id: int, form: ExportFormat) -> str:
    """NotFoundError where there is no such session."""
    return export(*store.opened(session_id), form)


def export_session(
    store: SessionStore,
    session_id: int,
    path: Path,
    form: ExportFormat | None = None,
    *,
    force: bool = False,
) -> Path:
    """Write a session to a file, whole or not at all; `form` None: as its name says. LibraryError
    where there is one already, unless `force`; StorageError."""
    text = export_text(store, session_id, form or format_for(path))
    path = Path(os.path.expanduser(path)).absolute()  # noqa: PTH111 - Path refuses "~nobody"
    if path.exists() and not force:
        raise LibraryError(
            msg("{path}: is there already", path=path),
            hint=msg("choose another name, or --force to replace it"),
        )
    with storage_errors(path):
        write_whole(path, text, replace=force)
    return path


def import_session(store: SessionStore, path: Path) -> Session:
    """Take in a session from a file: an export, or OpenAI's messages. NotFoundError; BadFileError
    names what in it is wrong, and nothing of it is kept."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_IMPORT + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(msg("{path}: no such file", path=path)) from None
    except OSError as error:
        raise BadFileError(
            path, msg("cannot be read: {strerror}", strerror=error.strerror or error)
        ) from error
    if len(data) > MAX_IMPORT:
        raise BadFileError(path, msg("too large for a session"))
    found = read_session(data, path)
    session = store.create(
        title=found.title,
        model=found.model,
        preset=found.preset,
        messages=found.messages,
        leaf=found.leaf,
    )
    return store.tag(session.id, found.tags) if found.tags else session
