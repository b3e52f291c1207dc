"""Which files of the library came from another program's folder, and by which way.

A hard-linked file is one file with two names: should the other program change it in place, the
library's model changes with it. `localq verify` compares the content with its hash and tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from localq.library.catalogue import Catalogue
from localq.library.transaction import Transaction

__all__ = ["Adoption", "Adoptions", "Way", "put_adoption"]


class Way(StrEnum):
    """How a file came to be the library's."""

    HARD_LINK = "hard link"
    """A second name of the same file."""
    REFLINK = "reflink"
    """A file of its own whose blocks are shared until one of both is changed."""
    REFERENCE = "reference"
    """It stayed where it was."""
    COPY = "copy"
    MOVE = "move"


@dataclass(frozen=True, slots=True)
class Adoption:
    """Where one file came from."""

    tool: str
    """The program whose folder it was in, such as "ollama"; "" for a file the user named."""
    way: Way
    source: str
    """The absolute path."""


@dataclass(frozen=True, slots=True)
class Adoptions:
    """The adopted files of one catalogue, by the places that `Transaction.files` names."""

    catalogue: Catalogue

    def of_model(self, name: str) -> dict[str, Adoption]:
        return self._query(
            "JOIN files USING (path) JOIN models ON models.id = model_id WHERE key = ?",
            name.casefold(),
        )

    def all(self) -> dict[str, Adoption]:
        return self._query("")

    def _query(self, rest: str, *values: str) -> dict[str, Adoption]:
        with self.catalogue.read() as transaction:
            if transaction is None:
                return {}
            rows = transaction.connection.execute(
                f"SELECT adoptions.path, tool, way, source FROM adoptions {rest}", values
            ).fetchall()
        known = set(Way)
        return {
            str(path): Adoption(tool, Way(way), source)
            for path, tool, way, source in rows
            if way in known
        }


def put_adoption(transaction: Transaction, place: str, adoption: Adoption) -> None:
    """Note where the file at `place`, which is an entry's, came from."""
    transaction.connection.execute(
        "INSERT OR REPLACE INTO adoptions (path, tool, way, source) VALUES (?, ?, ?, ?)",
        (place, adoption.tool, adoption.way.value, adoption.source),
    )
