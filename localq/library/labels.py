"""What users say of models: other names, tags, a note."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from localq.errors import LibraryError, NotFoundError, UsageError
from localq.library import names
from localq.library.catalogue import Catalogue
from localq.library.filenames import component_problem
from localq.library.model import Model
from localq.library.transaction import Transaction
from localq.messages import msg

__all__ = ["Labels", "checked_tag"]

_TAG = re.compile(r"[\w][\w.-]{0,49}")
_MAX_TAGS = 50
_MAX_ALIASES = 20
_MAX_NOTE = 10_000


@dataclass(frozen=True, slots=True)
class Labels:
    """Changes of one catalogue; `model` is always an entry's whole name."""

    catalogue: Catalogue

    def add_alias(self, model: str, alias: str) -> Model:
        """Let `alias` mean the model too; LibraryError where it means something already."""
        _check_alias(alias)
        with self.catalogue.write() as transaction:
            found = _entry(transaction, model)
            holder = transaction.get_by_alias(alias)
            if holder is None and len(found.aliases) >= _MAX_ALIASES:
                raise LibraryError(
                    msg(
                        "{name} has {max_aliases} other names already",
                        name=found.name,
                        max_aliases=_MAX_ALIASES,
                    )
                )
            taken = holder or transaction.get(alias)
            if taken is not None and taken.name != found.name:
                raise LibraryError(
                    msg("{alias!r} means {name} already", alias=alias, name=taken.name),
                    hint=msg("localq alias {name} {alias} --remove", name=taken.name, alias=alias)
                    if holder
                    else msg("choose another name"),
                )
            if transaction.get(alias) is None:
                put_alias(transaction, found.name, alias)
            return _entry(transaction, model)

    def remove_alias(self, model: str, alias: str) -> Model:
        with self.catalogue.write() as transaction:
            found = _entry(transaction, model)
            if alias.casefold() not in map(str.casefold, found.aliases):
                known = ", ".join(found.aliases)
                raise NotFoundError(
                    msg("{name} is not called {alias!r}", name=found.name, alias=alias),
                    hint=msg("its other names: {known}", known=known) if known else None,
                )
            transaction.connection.execute("DELETE FROM aliases WHERE key = ?", (alias.casefold(),))
            return _entry(transaction, model)

    def change_tags(self, model: str, add: Iterable[str], remove: Iterable[str]) -> Model:
        """Tags are kept in small letters."""
        added, removed = set(map(checked_tag, add)), set(map(checked_tag, remove))
        with self.catalogue.write() as transaction:
            found = _entry(transaction, model)
            if len(set(found.tags) - removed | added) > _MAX_TAGS:
                raise LibraryError(
                    msg("{name}: no more than {max_tags} tags", name=found.name, max_tags=_MAX_TAGS)
                )
            put_tags(transaction, found.name, set(found.tags) - removed | added)
            return _entry(transaction, model)

    def set_note(self, model: str, text: str) -> Model:
        """An empty `text` takes the note away."""
        if len(text) > _MAX_NOTE:
            raise UsageError(msg("a note has at most {max_note:,} characters", max_note=_MAX_NOTE))
        if any(0xD800 <= ord(character) < 0xE000 for character in text):
            raise UsageError(msg("the note is not valid text"))
        with self.catalogue.write() as transaction:
            found = _entry(transaction, model)
            transaction.connection.execute(
                "UPDATE models SET note = ? WHERE key = ?", (text, found.name.casefold())
            )
            return _entry(transaction, model)


def put_alias(transaction: Transaction, model: str, alias: str) -> None:
    """As `Labels.add_alias` does, unless the alias is taken."""
    transaction.connection.execute(
        "INSERT OR IGNORE INTO aliases (key, alias, model_id)"
        " SELECT ?, ?, id FROM models WHERE key = ?",
        (alias.casefold(), alias, model.casefold()),
    )


def put_tags(transaction: Transaction, model: str, tags: Iterable[str]) -> None:
    """Give the model exactly these tags."""
    (model_id,) = transaction.connection.execute(
        "SELECT id FROM models WHERE key = ?", (model.casefold(),)
    ).fetchone()
    transaction.connection.execute("DELETE FROM tags WHERE model_id = ?", (model_id,))
    transaction.connection.executemany(
        "INSERT INTO tags (model_id, tag) VALUES (?, ?)", [(model_id, tag) for tag in sorted(tags)]
    )


def checked_tag(tag: str) -> str:
    """`tag` in small letters; UsageError if it cannot be one."""
    small = tag.casefold()
    if _TAG.fullmatch(small) is None:
        raise UsageError(
            msg("{tag!r} cannot be a tag", tag=tag[:60]),
            hint=msg("letters, digits, dots and dashes, up to 50"),
        )
    return small


def _check_alias(alias: str) -> None:
    problem = component_problem(alias)
    if alias.startswith("-"):
        problem = msg("it begins like an option")
    elif names.looks_like_path(alias):
        problem = msg("it looks like a path")
    elif alias.casefold() == "demo":
        problem = msg("it means the model that localq brings")
    if problem:
        raise UsageError(
            msg("{alias!r} cannot name a model: {problem}", alias=alias[:60], problem=problem)
        )


def _entry(transaction: Transaction, name: str) -> Model:
    found = transaction.get(name)
    if found is None:
        raise NotFoundError(msg("{name}: removed by another localq just now", name=name))
    return found
