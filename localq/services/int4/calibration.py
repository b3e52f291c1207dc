"""Where the text to calibrate with comes from: the Hub by name, a file, or localq itself."""

from __future__ import annotations

import gzip
import io
import json
import threading
import zipfile
from pathlib import Path

from localq.errors import HubError, OfflineError, storage_errors
from localq.events import Emit, Note
from localq.gpu_quant.calibration import (
    BUILTIN,
    BUILTIN_TEXT,
    Calibration,
    prepare_calibration,
)
from localq.messages import msg
from localq.paths import Paths

__all__ = ["calibration_for"]

_WIKITEXT2, _C4 = "wikitext2", "c4"
_WIKITEXT_ARCHIVE = ("ggml-org/ci", "wikitext-2-raw-v1.zip", "wikitext-2-raw/wiki.train.raw")
_C4_PART = ("allenai/c4", "en/c4-validation.00000-of-00008.json.gz")
_MOST_ARCHIVE = 96 << 20
_MOST_TEXT = 32 << 20
_BYTES_PER_TOKEN = 12
"""Enough for any tokenizer: where a text has more tokens than this, it is not read to its end."""


def calibration_for(
    paths: Paths,
    calib: str | None,
    field: str,
    tokens: int,
    scratch: Path,
    emit: Emit,
    cancel: threading.Event,
) -> Calibration:
    """The text `calib` means, as a file in `scratch`; enough of it for `tokens`.

    None: WikiText-2's training text, and where the Hub cannot be reached the text of localq's own,
    with a warning. OfflineError, HubError, BadFileError, NotFoundError, StorageError, Cancelled.
    """
    enough = tokens * _BYTES_PER_TOKEN
    name = calib or _WIKITEXT2
    if name == BUILTIN:
        return prepare_calibration(BUILTIN, BUILTIN_TEXT, field, scratch, enough)
    if name in (_WIKITEXT2, _C4):
        try:
            fetched = _kept(paths, name, emit, cancel)
        except OfflineError:
            if calib is not None:
                raise
            emit(
                Note(
                    msg(
                        "no network for WikiText-2: calibrating with a text that comes with"
                        " localq; your own is better, --calib FILE"
                    ),
                    warning=True,
                )
            )
            return prepare_calibration(BUILTIN, BUILTIN_TEXT, field, scratch, enough)
        return prepare_calibration(name, fetched, field, scratch, enough)
    given = Path(name).expanduser().absolute()
    return prepare_calibration(str(given), given, field, scratch, enough)


def _kept(paths: Paths, name: str, emit: Emit, cancel: threading.Event) -> Path:
    """The text of this name, fetched once and kept among what can be made again."""
    from localq.partials import sweep_partials, write_whole

    target = paths.cache / "texts" / ("wiki.train.raw" if name == _WIKITEXT2 else "c4.txt")
    if target.is_file():
        return target
    text = _wikitext2(emit, cancel) if name == _WIKITEXT2 else _c4(emit, cancel)
    with storage_errors(target, hint=msg("let LOCALQ_HOME name another folder")):
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep_partials(target.parent)
        write_whole(target, text)
    return target


def _wikitext2(emit: Emit, cancel: threading.Event) -> bytes:
    from localq.hub.dataset_file import fetch_dataset_file

    dataset, archive, member = _WIKITEXT_ARCHIVE
    emit(Note(msg("fetching WikiText-2 from the Hub (5 MB, CC BY-SA)")))
    data = fetch_dataset_file(dataset, archive, _MOST_ARCHIVE, emit=emit, cancel=cancel)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as opened, opened.open(member) as file:
            text = file.read(_MOST_TEXT)
        text.decode("utf-8")
    except (zipfile.BadZipFile, KeyError, OSError, EOFError, ValueError, RuntimeError):
        raise _not_as_expected(dataset, archive) from None
    return text


def _c4(emit: Emit, cancel: threading.Event) -> bytes:
    from localq.hub.dataset_file import fetch_dataset_file

    dataset, path = _C4_PART
    emit(Note(msg("fetching a part of C4 from the Hub (40 MB, ODC-BY)")))
    data = fetch_dataset_file(dataset, path, _MOST_ARCHIVE, emit=emit, cancel=cancel)
    texts: list[str] = []
    size = 0
    try:
        with gzip.open(io.BytesIO(data)) as file:
            while size < _MOST_TEXT and (line := file.readline(_MOST_TEXT)):
                texts.append(json.loads(line)["text"] + "\n\n")
                size += len(line)
    except (OSError, EOFError, ValueError, LookupError, TypeError, RecursionError):
        raise _not_as_expected(dataset, path) from None
    if not texts:
        raise _not_as_expected(dataset, path)
    return "".join(texts).encode()


def _not_as_expected(dataset: str, path: str) -> HubError:
    return HubError(
        msg("{dataset}: {archive} does not hold the text it should", dataset=dataset, archive=path),
        hint=msg("give a text of your own: --calib FILE, or --calib builtin"),
    )
