"""An entry with all that hangs on it, as text, so that it can be forgotten and come back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from localq.database.connection import damaged
from localq.database.rows import insert
from localq.errors import LocalqError
from localq.library.model import MODEL_COLUMNS, Model, ModelFormat
from localq.library.transaction import Transaction
from localq.messages import msg

__all__ = ["Snapshot"]

# Each table's columns but the model's number, which another entry may have by then.
_OF_FILE: Mapping[str, list[str]] = {
    "hashes": ["path", "sha256", "said_by", "size_bytes", "mtime_ns", "inode", "verified_at"],
    "adoptions": ["path", "tool", "way", "source"],
}
_MAX_TEXT = 64 << 20


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Rows of the catalogue, by table; each a mapping of columns."""

    model: Mapping[str, Any]
    files: Mapping[str, int]
    """Each file's place and bytes."""
    aliases: tuple[str, ...]
    tags: tuple[str, ...]
    facts: Mapping[str, list[dict[str, Any]]]
    """The rows of the tables of `_OF_FILE`."""

    @classmethod
    def take(cls, transaction: Transaction, name: str) -> Snapshot:
        """The entry of this name, which exists."""
        found = transaction.get(name)
        assert found is not None
        (model,) = _rows(
            transaction.connection, "models", MODEL_COLUMNS, "WHERE key = ?", name.casefold()
        )
        facts = {
            table: _rows(
                transaction.connection,
                table,
                columns,
                "WHERE path IN (SELECT files.path FROM files JOIN models ON models.id = model_id"
                " WHERE key = ?)",
                name.casefold(),
            )
            for table, columns in _OF_FILE.items()
        }
        return cls(model, transaction.sizes(name), found.aliases, found.tags, facts)

    @classmethod
    def of_unknown(cls, files: Mapping[str, int], name: str, now: float) -> Snapshot:
        """An entry for files, by place and bytes, of which no more is known."""
        gguf = next((place for place in files if place.endswith(".gguf")), None)
        model = {
            "name": name,
            "format": (ModelFormat.GGUF if gguf else ModelFormat.SAFETENSORS).value,
            "quant": "unknown",
            "architecture": "unknown",
            "parameters": 0,
            "size_bytes": sum(files.values()),
            "path": gguf or PurePosixPath(next(iter(files))).parent.as_posix(),
            "source_repo": None,
            "source_revision": None,
            "created_at": now,
            "used_at": now,
            "note": "files that belonged to no model",
            "external": False,
        }
        return cls(model, files, (), (), {})

    def encode(self) -> str:
        document = {
            "model": self.model,
            "files": self.files,
            "aliases": self.aliases,
            "tags": self.tags,
            **self.facts,
        }
        return json.dumps(document, ensure_ascii=True)

    @classmethod
    def decode(cls, text: str, database: Path) -> Snapshot:
        """What `encode` wrote; LibraryError where it is something else."""
        try:
            if len(text) > _MAX_TEXT:
                raise ValueError("too long")
            document = json.loads(text)
            model = {column: document["model"][column] for column in MODEL_COLUMNS}
            if not all(isinstance(value, str | int | float | None) for value in model.values()):
                raise ValueError("no plain values")
            files = {str(path): int(size) for path, size in document["files"].items()}
            aliases = tuple(map(str, document["aliases"]))
            tags = tuple(map(str, document["tags"]))
            facts = {
                table: [
                    {column: row[column] for column in columns} for row in document.get(table, [])
                ]
                for table, columns in _OF_FILE.items()
            }
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise damaged(database, msg("an entry of the trash: {error}", error=error)) from None
        return cls(model, files, aliases, tags, facts)

    @property
    def name(self) -> str:
        return str(self.model["name"])

    def as_model(self, root: Path, database: Path) -> Model:
        """The entry as it was, under the models folder `root`."""
        try:
            return Model.from_row(self.model, root, self.aliases, self.tags)
        except (TypeError, ValueError) as error:
            raise damaged(database, msg("an entry of the trash: {error}", error=error)) from None

    def put_back(self, transaction: Transaction) -> None:
        """Enter it again. The name and the files' places are free."""
        from localq.library.labels import put_alias, put_tags

        row = {**self.model, "key": self.name.casefold()}
        number = insert(transaction.connection, "models", row)
        for path, size in self.files.items():
            insert(
                transaction.connection,
                "files",
                {"path": path, "model_id": number, "size_bytes": size},
            )
        for table, rows in self.facts.items():
            for fact in rows:
                insert(transaction.connection, table, fact)
        for alias in self.aliases:
            put_alias(transaction, self.name, alias)  # not one that means another model by now
        put_tags(transaction, self.name, self.tags)
        if transaction.get(self.name) is None:
            raise LocalqError(msg("{name}: could not be entered again", name=self.name))


def _rows(
    connection: sqlite3.Connection, table: str, columns: Sequence[str], where: str, *values: str
) -> list[dict[str, Any]]:
    found = connection.execute(f"SELECT {', '.join(columns)} FROM {table} {where}", values)
    return [dict(zip(columns, row, strict=True)) for row in found]
