"""The texts that show a quantizer what a model is used for, from files of several kinds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from localq.errors import BadFileError, NotFoundError, storage_errors
from localq.messages import msg

__all__ = ["BUILTIN", "BUILTIN_TEXT", "Calibration", "prepare_calibration"]

BUILTIN = "builtin"
"""What the text that comes with localq is called."""
BUILTIN_TEXT = Path(__file__).parent / "data" / "calibration.txt"

_MOST_BYTES = 64 << 20
_MOST_LINE = 4 << 20
_KINDS = (".txt", ".md", ".jsonl", ".json")


@dataclass(frozen=True, slots=True)
class Calibration:
    """A UTF-8 text, or a parquet file of which `field` is read. `name` says where it came from,
    `sha256` is of the bytes at `path`."""

    name: str
    path: Path
    field: str
    sha256: str


def prepare_calibration(
    name: str, given: Path, field: str, scratch: Path, enough_bytes: int
) -> Calibration:
    """What the file or folder `given` holds, as one text in the folder `scratch`.

    Text files are taken as they are, of *.jsonl the field `field` of each line, or the contents
    of its "messages"; a folder's files by their names. Of large ones about `enough_bytes` are
    taken. BadFileError names the line that makes no sense; NotFoundError, StorageError.
    """
    if given.suffix.lower() == ".parquet" and given.is_file():
        return Calibration(name, given, field, _hash(given))
    target = scratch / "calibration.txt"
    limit = min(enough_bytes, _MOST_BYTES)
    size, holds_text = 0, False
    with storage_errors(target), target.open("w", encoding="utf-8") as out:
        for text in _texts(given, field):
            size += out.write(text)
            holds_text = holds_text or bool(text.strip())
            if size >= limit:
                break
    if not holds_text:
        raise BadFileError(given, msg("holds no text to calibrate with"))
    return Calibration(name, target, field, _hash(target))


def _texts(given: Path, field: str) -> Iterator[str]:
    for path in _files(given):
        lines = _lines(path)
        if path.suffix.lower() in (".jsonl", ".json"):
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _of_record(path, number, line, field) + "\n\n"
        else:
            yield from lines
            yield "\n\n"


def _files(given: Path) -> list[Path]:
    if given.is_dir():
        found = sorted(p for p in given.iterdir() if p.suffix.lower() in _KINDS and p.is_file())
        if not found:
            raise NotFoundError(
                msg("{given}: no *.txt, *.md or *.jsonl in it", given=given),
                hint=msg("name a file: --calib FILE"),
            )
        return found
    if not given.is_file():
        raise NotFoundError(
            msg("{given}: no such file or folder", given=given),
            hint=msg("--calib is wikitext2, c4, builtin, or a file"),
        )
    return [given]


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            offset = 0
            while line := file.readline(_MOST_LINE):
                if b"\0" in line:
                    raise BadFileError(path, msg("is no text"), offset=offset)
                yield line.decode("utf-8")
                offset += len(line)
    except UnicodeDecodeError as error:
        raise BadFileError(path, msg("not valid UTF-8"), offset=offset + error.start) from None
    except OSError as error:
        raise BadFileError(
            path, msg("cannot be read: {strerror}", strerror=error.strerror or error)
        ) from error


def _of_record(path: Path, number: int, line: str, field: str) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise BadFileError(path, msg("line {number} is no JSON", number=number)) from None
    if isinstance(record, str):
        return record
    if not isinstance(record, dict):
        raise BadFileError(path, msg("line {number} is no JSON object", number=number))
    text = record.get(field)
    if isinstance(text, str):
        return text
    messages = record.get("messages")
    if isinstance(messages, list):
        contents = [m.get("content") for m in messages if isinstance(m, dict)]
        return "\n".join(content for content in contents if isinstance(content, str))
    texts = [key for key, value in record.items() if isinstance(value, str)]
    raise BadFileError(
        path,
        msg("line {number} has no text {field!r}", number=number, field=field),
        hint=msg("name the field: --calib-field {field}", field=texts[0]) if texts else None,
    )


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
