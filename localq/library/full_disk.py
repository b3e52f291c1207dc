"""Removing models from a disk that is so full that not even that can be noted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from localq.library.catalogue import Catalogue
from localq.library.disk import freed_by_deleting
from localq.library.store import Store

__all__ = ["give_room", "with_reserve"]

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class _HasCatalogue(Protocol):
    @property
    def catalogue(self) -> Catalogue: ...


_Owner = TypeVar("_Owner", bound=_HasCatalogue)


def with_reserve(
    method: Callable[Concatenate[_Owner, _Given], _Result],
) -> Callable[Concatenate[_Owner, _Given], _Result]:
    """Let the method use the room that was set aside for work that gives the disk more."""

    @wraps(method)
    def spending(owner: _Owner, /, *given: _Given.args, **named: _Given.kwargs) -> _Result:
        with owner.catalogue.database.reserve.spent():
            return method(owner, *given, **named)

    return spending


def give_room(store: Store, files: Iterable[Path]) -> int:
    """Delete the largest of files that are to be deleted anyway, before that is noted; the bytes
    the disk got back."""
    freed = {file: freed_by_deleting([file]) for file in files}
    largest = max(freed, key=lambda file: freed[file], default=None)
    if largest is None or not freed[largest]:
        return 0
    store.delete([largest])
    return freed[largest]
