"""The models of this machine."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localq.errors import LocalqError
from localq.events import Emit

if TYPE_CHECKING:
    from localq.library import Library, Model
    from localq.library.model import Removed
    from localq.quality.cards import QualityCard
    from localq.services.library.inspect import ModelDetails

__all__ = ["Held", "LibraryServices"]


@dataclass(frozen=True, slots=True)
class Held:
    """A model that another program holds, as that calls it."""

    tool: str
    name: str
    quant: str
    size_bytes: int


class LibraryServices:
    def __init__(self, library: Library) -> None:
        self._library = library
        self._ahead: Sequence[Model] | None = None

    def models(self) -> Sequence[Model]:
        return self._library.models()

    def read_ahead(self) -> None:
        """Begin to read the models while the app is still being made."""
        threading.Thread(target=self._read_ahead, name="localq-ahead", daemon=True).start()

    def _read_ahead(self) -> None:
        with suppress(LocalqError):  # who asks for them again is told
            self._ahead = self.models()

    def taken_ahead(self) -> Sequence[Model] | None:
        """The models, once, where they have been read by now."""
        ahead, self._ahead = self._ahead, None
        return ahead

    def revision(self) -> int:
        """Another number once `models` would say something else; quick to find."""
        return self._library.revision()

    def cards(self) -> Mapping[Path, QualityCard]:
        """How good files were found to be, where somebody has measured it."""
        from localq.database import Database
        from localq.quality.cards import QualityCards

        return QualityCards(Database(self._library.paths.database)).latest()

    def show(self, name: str) -> ModelDetails:
        """Details of the model with this name, from its file's header."""
        from localq.services.library.inspect import show

        return show(self._library, name)

    def remove(self, names: Sequence[str]) -> Sequence[Removed]:
        """Move models into the trash, all or none."""
        from localq.services.library.remove import remove

        return remove(self._library, names)

    def restore(self, names: Sequence[str]) -> Sequence[Model]:
        from localq.services.library.remove import restore

        return restore(self._library, names)

    def add_alias(self, name: str, alias: str) -> Model:
        return self._library.labels.add_alias(name, alias)

    def remove_alias(self, name: str, alias: str) -> Model:
        return self._library.labels.remove_alias(name, alias)

    def set_tags(self, name: str, tags: Sequence[str]) -> Model:
        """Exactly these tags."""
        before = self._library.find(name).tags
        return self._library.labels.change_tags(name, tags, set(before) - set(tags))

    def set_note(self, name: str, text: str) -> Model:
        return self._library.labels.set_note(name, text)

    def held_by_others(self, emit: Emit, cancel: threading.Event) -> tuple[Held, ...]:
        """What the programs that are known have and the library has not."""
        from localq.library.foreign import TOOLS
        from localq.services.library.import_models import ImportRequest, import_models

        held: list[Held] = []
        for tool in TOOLS:
            found = import_models(self._library, ImportRequest(tool=tool), emit, cancel)
            held += [
                Held(tool, one.source, one.model.quant, one.model.size_bytes)
                for one in found.imported
                if not one.already_there
            ]
        return tuple(held)
