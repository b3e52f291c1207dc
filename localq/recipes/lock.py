"""What a recipe made, so exactly that it can be made again: `NAME.lock.json` beside the recipe."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from localq.errors import BadFileError, NotFoundError, storage_errors
from localq.json_codec import from_json, to_json
from localq.messages import msg
from localq.partials import write_whole
from localq.recipes.recipe import Recipe

__all__ = ["Lock", "LockedFile", "LockedOutput", "Measured", "lock_path", "read_lock", "write_lock"]

_VERSION = 1
_MAX_BYTES = 16 << 20
_HINT = "localq recipe run, without --locked, writes a new one"


@dataclass(frozen=True, slots=True)
class LockedFile:
    """A file that something was made from. `sha256` None: not known yet."""

    name: str
    size_bytes: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What the checks measured of a file; None: not that. `kld` is in nats, `agreement` the share
    of tokens for which it and the base find the same one likeliest."""

    perplexity: float | None = None
    kld: float | None = None
    agreement: float | None = None


@dataclass(frozen=True, slots=True)
class LockedOutput:
    """What was made of one [quantize], and the SHA-256 of each of its files."""

    type: str
    sha256: tuple[str, ...]
    size_bytes: int
    measured: Measured = Measured()


@dataclass(frozen=True, slots=True)
class Lock:
    """`inputs_sha256` is of all in the recipe that the bytes made depend on, `files` are the
    checkpoint's, `imatrix` lies beside the lock file. `localq` and `engine` are the versions that
    made it, `commands` what does the same by hand."""

    version: int
    recipe: str
    inputs_sha256: str
    repo: str
    revision: str | None
    localq: str
    engine: str
    files: tuple[LockedFile, ...] = ()
    imatrix: LockedFile | None = None
    outputs: tuple[LockedOutput, ...] = ()
    commands: tuple[str, ...] = ()

    def output(self, type_: str) -> LockedOutput | None:
        """What was made of the [quantize] of this type."""
        return next((output for output in self.outputs if output.type == type_), None)


def lock_path(recipe: Recipe, folder: Path) -> Path:
    """Where the lock of a recipe is: beside a user's own, in `folder` for one of localq's."""
    around = folder if recipe.about is not None else recipe.path.absolute().parent
    return around / f"{recipe.path.stem}.lock.json"


def read_lock(path: Path) -> Lock:
    """The lock in a file. NotFoundError; BadFileError where it is none, or of another version."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise BadFileError(path, msg("too large for a lock file"), hint=msg(_HINT))
        document = json.loads(data)
        if isinstance(document, dict) and document.get("version") not in (None, _VERSION):
            raise BadFileError(
                path, msg("a lock file of another version of localq"), hint=msg(_HINT)
            )
        lock: Lock = from_json(Lock, document)
    except FileNotFoundError:
        raise NotFoundError(
            msg("{path}: no such lock file", path=path),
            hint=msg("localq recipe run writes it, localq recipe lock its first part"),
        ) from None
    except OSError as error:
        raise BadFileError(
            path, msg("cannot be read: {strerror}", strerror=error.strerror or error)
        ) from error
    except (ValueError, TypeError, RecursionError) as error:
        raise BadFileError(
            path, msg("not a lock file: {error}", error=error), hint=msg(_HINT)
        ) from None
    return lock


def write_lock(path: Path, lock: Lock) -> None:
    """Write it whole or not at all, in place of an older one. StorageError."""
    with storage_errors(path):
        write_whole(path, json.dumps(to_json(lock), indent=2) + "\n")
