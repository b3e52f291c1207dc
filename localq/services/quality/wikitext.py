"""WikiText-2's test text, on which perplexities are published; fetched once, then kept."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from pathlib import Path

from localq.errors import HubError, storage_errors
from localq.events import Emit, Note
from localq.messages import msg
from localq.paths import Paths

__all__ = ["WIKITEXT2", "wikitext2"]

WIKITEXT2 = "wikitext2"
"""What the text is called instead of a file's name."""

# Where llama.cpp's own instructions for perplexity take it from.
_DATASET = "ggml-org/ci"
_ARCHIVE = "wikitext-2-raw-v1.zip"
_MEMBER = "wikitext-2-raw/wiki.test.raw"
_MOST_BYTES = 16 << 20
_SIZE = 1_290_590
_SHA256 = "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08"


def wikitext2(paths: Paths, emit: Emit, cancel: threading.Event) -> Path:
    """The file with the text, fetched from the Hub where it is not here yet. OfflineError,
    HubError, StorageError, Cancelled."""
    from localq.partials import sweep_partials, write_whole

    target = paths.cache / "texts" / "wiki.test.raw"
    if _is_right(target):
        return target
    emit(Note(msg("fetching WikiText-2 from the Hub (5 MB, CC BY-SA)")))
    text = _fetch(emit, cancel)
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep_partials(target.parent)
        write_whole(target, text)
    return target


def _fetch(emit: Emit, cancel: threading.Event) -> bytes:
    from localq.hub.dataset_file import fetch_dataset_file

    data = fetch_dataset_file(_DATASET, _ARCHIVE, _MOST_BYTES, emit=emit, cancel=cancel)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(_MEMBER) as member:
            text = member.read(_SIZE + 1)
    except (zipfile.BadZipFile, KeyError, OSError, EOFError, NotImplementedError, RuntimeError):
        text = b""
    if hashlib.sha256(text).hexdigest() != _SHA256:
        raise HubError(
            msg(
                "{dataset}: {archive} does not hold the text it should",
                dataset=_DATASET,
                archive=_ARCHIVE,
            ),
            hint=msg("give a text of your own: --text FILE"),
        )
    return text


def _is_right(path: Path) -> bool:
    try:
        data = path.read_bytes() if path.stat().st_size == _SIZE else b""
    except OSError:
        return False
    return hashlib.sha256(data).hexdigest() == _SHA256
