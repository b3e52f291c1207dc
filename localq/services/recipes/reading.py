"""Files of a recipe's model that are only read: to calibrate by, to compare with."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localq.errors import Cancelled, LocalqError, storage_errors
from localq.events import Emit
from localq.formats.types import QuantType
from localq.library import Library, Model
from localq.partials import finish, partial_path
from localq.recipes.recipe import Calibration
from localq.services.make.imatrix import ImatrixRequest, make_imatrix
from localq.services.make.lossless import own_type
from localq.services.make.quantize import QuantizeRequest, quantize
from localq.services.quality.wikitext import WIKITEXT2, wikitext2

__all__ = ["Workroom", "workroom"]

_IMATRIX = "imatrix.gguf"


@dataclass(frozen=True, slots=True)
class Workroom:
    """A folder for what one recipe makes of one checkpoint on the way; it outlives a kill, so that
    the next try goes on with it."""

    folder: Path
    library: Library
    source: Model
    emit: Emit
    cancel: threading.Event

    def gguf(self, type_: QuantType | None) -> str:
        """The model in that type (None: as exactly as the checkpoint has it): the library's name of
        it where it is there, else a file in this room."""
        wanted = type_ or own_type(self.source)
        held = self.library.get(f"{self.source.name}:{wanted.name}")
        if held is not None and held.source == self.source.source and held.path.is_file():
            return held.name
        path = self.folder / f"{self.source.name.rpartition('/')[2]}-{wanted.name}.gguf"
        if not path.is_file():
            request = QuantizeRequest(wanted, self.source.name, output=path)
            quantize(self.library, request, self.emit, self.cancel)
        return str(path)

    def imatrix(self, calibration: Calibration, target: Path) -> None:
        """Make the importance matrix `target`."""
        draft = self.folder / _IMATRIX
        if not draft.is_file():  # what an earlier try made with it is of this very matrix
            text = calibration.text or wikitext2(self.library.paths, self.emit, self.cancel)
            request = ImatrixRequest(
                text,
                self.gguf(calibration.reader),
                output=draft,
                chunks=calibration.chunks,
                n_ctx=calibration.n_ctx,
                # Its path would differ from machine to machine, and with it the files made.
                dataset=text.name if calibration.text else WIKITEXT2,
            )
            make_imatrix(self.library, request, self.emit, self.cancel)
        beside = partial_path(target)
        with storage_errors(target):
            try:
                shutil.copyfile(draft, beside)
                finish(beside, target, replace=True)
            finally:
                beside.unlink(missing_ok=True)


@contextmanager
def workroom(
    library: Library, source: Model, key: str, emit: Emit, cancel: threading.Event
) -> Iterator[Workroom]:
    """The room of the work `key`; it is cleared where the block ends well. After an error the
    large files go, which can be made again."""
    folder = library.paths.cache / "recipes" / key
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield Workroom(folder, library, source, emit, cancel)
    except Cancelled:
        raise
    except LocalqError:
        for path in folder.glob("*.gguf"):
            if path.name != _IMATRIX:
                path.unlink(missing_ok=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
