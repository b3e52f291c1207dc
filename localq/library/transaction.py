"""What can be asked of the catalogue and changed in it, within one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from localq.database.connection import damaged
from localq.library.model import Model, ModelFormat, ModelSource

__all__ = ["Transaction"]

_SELECT = """
    SELECT name, format, quant, architecture, parameters, size_bytes, path,
           source_repo, source_revision, created_at, used_at
    FROM models
"""


@dataclass(frozen=True, slots=True)
class Transaction:
    """One all-or-nothing change of the catalogue; ends with the block that opened it."""

    connection: sqlite3.Connection
    database: Path
    root: Path
    """The models folder, which all paths are relative to."""

    def models(self) -> list[Model]:
        """All entries, by name."""
        return [self._model(row) for row in self.connection.execute(f"{_SELECT} ORDER BY key")]

    def get(self, name: str) -> Model | None:
        """The entry of exactly this name, whatever its capitals."""
        rows = self.connection.execute(f"{_SELECT} WHERE key = ?", (name.casefold(),))
        return next((self._model(row) for row in rows), None)

    def files(self, name: str) -> list[str]:
        """The places under the models folder that belong to the entry of this name."""
        rows = self.connection.execute(
            "SELECT files.path FROM files JOIN models ON models.id = model_id"
            " WHERE key = ? ORDER BY files.path",
            (name.casefold(),),
        )
        return [str(path) for (path,) in rows]

    def owner(self, place: PurePosixPath) -> str | None:
        """The name of the entry a file belongs to."""
        row = self.connection.execute(
            "SELECT name FROM models JOIN files ON models.id = model_id WHERE files.path = ?",
            (str(place),),
        ).fetchone()
        return None if row is None else str(row[0])

    def put(self, model: Model, place: PurePosixPath, files: Mapping[PurePosixPath, int]) -> None:
        """Enter a model whose path is `place`; an entry of the same name gives way."""
        self.delete(model.name)
        row = (
            *(model.name.casefold(), model.name, model.format.value, model.quant),
            *(model.architecture, model.parameters, model.size_bytes, str(place)),
            *(model.source.repo, model.source.revision, model.created_at, model.used_at),
        )
        entered = self.connection.execute(
            "INSERT INTO models (key, name, format, quant, architecture, parameters, size_bytes,"
            " path, source_repo, source_revision, created_at, used_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
        self.connection.executemany(
            "INSERT INTO files (path, model_id, size_bytes) VALUES (?, ?, ?)",
            [(str(file), entered.lastrowid, size) for file, size in files.items()],
        )

    def delete(self, name: str) -> None:
        """Forget the entry and its files; the files themselves stay."""
        self.connection.execute("DELETE FROM models WHERE key = ?", (name.casefold(),))

    def touch(self, name: str, now: float) -> None:
        """Make the entry the one used last, even if the clock went back."""
        self.connection.execute(
            "UPDATE models SET used_at = coalesce("
            " max(:now, 1e-6 + (SELECT max(used_at) FROM models WHERE key != :key)), :now)"
            " WHERE key = :key",
            {"now": now, "key": name.casefold()},
        )

    def _model(self, row: tuple[Any, ...]) -> Model:
        name, kind, quant, architecture, parameters, size, place, repo, revision, made, used = row
        try:
            return Model(
                name=name,
                format=ModelFormat(kind),
                quant=quant,
                architecture=architecture,
                parameters=int(parameters),
                size_bytes=int(size),
                path=self.root / place,
                source=ModelSource(repo, revision),
                created_at=float(made),
                used_at=float(used),
            )
        except (TypeError, ValueError) as error:
            raise damaged(self.database, f"entry {name!r}: {error}") from error
