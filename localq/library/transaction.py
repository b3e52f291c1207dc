"""What can be asked of the catalogue and changed in it, within one transaction."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from localq.database.connection import damaged
from localq.library.model import MODEL_COLUMNS, Model
from localq.library.names import in_full
from localq.messages import msg

__all__ = ["Transaction"]

_SELECT = f"SELECT id, {', '.join(MODEL_COLUMNS)} FROM models"
# All but `id` and `note`: what the user said of a model outlives its files.
_PUT_COLUMNS = ("key", *(column for column in MODEL_COLUMNS if column != "note"))
_PUT = (
    f"INSERT INTO models ({', '.join(_PUT_COLUMNS)})"
    f" VALUES ({', '.join(f':{column}' for column in _PUT_COLUMNS)})"
    " ON CONFLICT (key) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in _PUT_COLUMNS)
)


@dataclass(frozen=True, slots=True)
class Transaction:
    """One all-or-nothing change of the catalogue; ends with the block that opened it."""

    connection: sqlite3.Connection
    database: Path
    root: Path
    """The models folder, which all paths are relative to."""

    def models(self, where: str = "1", *values: str) -> list[Model]:
        """The entries for which the condition `where` holds (all), by name."""
        chosen = f"WHERE model_id IN (SELECT id FROM models WHERE {where})"
        aliases = self._labels(f"SELECT model_id, alias FROM aliases {chosen} ORDER BY key", values)
        tags = self._labels(f"SELECT model_id, tag FROM tags {chosen} ORDER BY tag", values)
        rows = self.connection.execute(f"{_SELECT} WHERE {where} ORDER BY key", values)
        return [self._model(row, aliases.get(row[0], ()), tags.get(row[0], ())) for row in rows]

    def revision(self) -> int:
        """Differs, within one process, where anything that is listed of a model does."""
        tables = ("models", "aliases", "tags")
        rows = [self.connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables]
        cards = "SELECT count(*), max(measured_at) FROM quality_cards"
        return hash((*map(tuple, rows), self.connection.execute(cards).fetchone()))

    def candidates(self, name: str) -> list[Model]:
        """All entries that `name` could mean by any reading of `localq.library.names`, and those
        of the same source; of a large library it reads only these."""
        bases: list[str] = []
        for spelled in dict.fromkeys((name.casefold(), in_full(name))):
            base = spelled.partition(":")[0]
            called = self.get_by_alias(spelled) or self.get_by_alias(base)
            bases += [base, *([called.name.casefold().partition(":")[0]] if called else [])]
        alike = " OR ".join(f"instr(key, ?{number})" for number in range(1, len(bases) + 1))
        same = f"source_repo IN (SELECT source_repo FROM models WHERE {alike})"
        return self.models(f"({alike} OR {same})", *bases)

    def newest(self) -> Model | None:
        """The entry pulled, made or used last; an adapter is nothing by itself."""
        return self._one(
            f"{_SELECT} WHERE format != 'adapter'"
            " ORDER BY used_at DESC, created_at DESC, name DESC LIMIT 1"
        )

    def get(self, name: str) -> Model | None:
        """The entry of exactly this name, whatever its capitals."""
        return self._one(f"{_SELECT} WHERE key = ?", name.casefold())

    def get_by_alias(self, alias: str) -> Model | None:
        """The entry that a user calls so, whatever the capitals."""
        return self._one(
            f"{_SELECT} WHERE id = (SELECT model_id FROM aliases WHERE key = ?)", alias.casefold()
        )

    def files(self, name: str) -> list[str]:
        """The places that belong to the entry of this name: under the models folder, or (of an
        external one) absolute."""
        return list(self.sizes(name))

    def sizes(self, name: str) -> dict[str, int]:
        """The places that belong to the entry of this name, and each file's bytes."""
        rows = self.connection.execute(
            "SELECT files.path, files.size_bytes FROM files JOIN models ON models.id = model_id"
            " WHERE key = ? ORDER BY files.path",
            (name.casefold(),),
        )
        return {str(path): int(size) for path, size in rows}

    def all_sizes(self) -> dict[str, dict[str, int]]:
        """What `sizes` says, by the name of each entry that has files."""
        rows = self.connection.execute(
            "SELECT name, files.path, files.size_bytes FROM files"
            " JOIN models ON models.id = model_id ORDER BY files.path"
        )
        found: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for name, path, size in rows:
            found[str(name)][str(path)] = int(size)
        return found

    def owner(self, place: PurePath) -> str | None:
        """The name of the entry a file belongs to."""
        row = self.connection.execute(
            "SELECT name FROM models JOIN files ON models.id = model_id WHERE files.path = ?",
            (str(place),),
        ).fetchone()
        return None if row is None else str(row[0])

    def put(self, model: Model, place: PurePath, files: Mapping[PurePath, int]) -> None:
        """Enter a model whose path is `place`; an entry of the same name gives way.

        Its aliases, tags and note stay; what was known of its files' content does not.
        """
        row = {
            "key": model.name.casefold(),
            "name": model.name,
            "format": model.format.value,
            "quant": model.quant,
            "architecture": model.architecture,
            "parameters": model.parameters,
            "size_bytes": model.size_bytes,
            "path": str(place),
            "source_repo": model.source.repo,
            "source_revision": model.source.revision,
            "created_at": model.created_at,
            "used_at": model.used_at,
            "external": model.external,
        }
        self.connection.execute(_PUT, row)
        (model_id,) = self.connection.execute(
            "SELECT id FROM models WHERE key = ?", (model.name.casefold(),)
        ).fetchone()
        self.connection.execute("DELETE FROM files WHERE model_id = ?", (model_id,))
        self.connection.executemany(
            "INSERT INTO files (path, model_id, size_bytes) VALUES (?, ?, ?)",
            [(str(file), model_id, size) for file, size in files.items()],
        )

    def add_file(self, name: str, file: PurePath, size: int) -> None:
        """Give a model one more file, or the same one again, perhaps of another size."""
        key = name.casefold()
        self.connection.execute("DELETE FROM files WHERE path = ?", (str(file),))
        self.connection.execute(
            "INSERT INTO files (path, model_id, size_bytes)"
            " SELECT ?, id, ? FROM models WHERE key = ?",
            (str(file), size, key),
        )
        self.connection.execute(
            "UPDATE models SET size_bytes = (SELECT sum(files.size_bytes) FROM files"
            " WHERE model_id = models.id) WHERE key = ?",
            (key,),
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

    def _one(self, query: str, *values: str) -> Model | None:
        row = self.connection.execute(query, values).fetchone()
        if row is None:
            return None
        mine = (row[0],)
        aliases = self.connection.execute(
            "SELECT alias FROM aliases WHERE model_id = ? ORDER BY key", mine
        )
        tags = self.connection.execute("SELECT tag FROM tags WHERE model_id = ? ORDER BY tag", mine)
        return self._model(row, tuple(a for (a,) in aliases), tuple(t for (t,) in tags))

    def _labels(self, query: str, values: tuple[str, ...]) -> dict[int, tuple[str, ...]]:
        found: defaultdict[int, tuple[str, ...]] = defaultdict(tuple)
        for model_id, text in self.connection.execute(query, values):
            found[model_id] += (text,)
        return found

    def _model(
        self, row: tuple[Any, ...], aliases: tuple[str, ...], tags: tuple[str, ...]
    ) -> Model:
        columns = dict(zip(MODEL_COLUMNS, row[1:], strict=True))
        try:
            return Model.from_row(columns, self.root, aliases, tags)
        except (TypeError, ValueError) as error:
            raise damaged(
                self.database,
                msg("entry {columns!r}: {error}", columns=columns["name"], error=error),
            ) from error
