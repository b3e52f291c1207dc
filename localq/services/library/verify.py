"""Is every model still what it was? Content against hashes, headers against files."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from localq.errors import BadFileError, Cancelled, LocalqError, NotFoundError
from localq.events import Emit, Progress, Started, Unit
from localq.library import Library, Model, ModelFormat
from localq.library.hashes import FileHash, SaidBy, hash_file, verified
from localq.messages import msg
from localq.services.library.headers import parameters_of

__all__ = ["FileCheck", "ModelCheck", "Verdict", "VerifyResult", "mend", "verify"]


class Verdict(StrEnum):
    OK = "ok"
    """It has the hash it should have."""
    RECORDED = "recorded now"
    """No hash was known of it; from now on there is one."""
    CHANGED = "changed"
    MISSING = "missing"
    WRONG_SIZE = "wrong size"
    UNREADABLE = "unreadable"

    @property
    def good(self) -> bool:
        return self in (Verdict.OK, Verdict.RECORDED)


@dataclass(frozen=True, slots=True)
class FileCheck:
    path: Path
    verdict: Verdict
    detail: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class ModelCheck:
    name: str
    files: tuple[FileCheck, ...]
    problems: tuple[str, ...]
    """What is wrong with the model as a whole: its headers, shards that do not fit."""
    mend: str | None
    """The command that would mend it, where something is wrong."""

    @property
    def good(self) -> bool:
        return not self.problems and all(file.verdict.good for file in self.files)


@dataclass(frozen=True, slots=True)
class VerifyResult:
    models: tuple[ModelCheck, ...]

    @property
    def good(self) -> bool:
        return all(model.good for model in self.models)


def verify(
    library: Library, names: tuple[str, ...], emit: Emit, cancel: threading.Event
) -> VerifyResult:
    """Read every byte of these models (none named: of all) and compare.

    Cancelled when `cancel` is set; what was found until then is recorded.
    """
    models = [library.find(name) for name in names] if names else library.models()
    models = list({model.name: model for model in models}.values())
    if names == () and not models:
        raise NotFoundError(msg("the library has no models yet"), hint="localq pull")
    total, done = sum(model.size_bytes for model in models), 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        emit(Progress("verifying", done, max(total, done), Unit.BYTES))

    checked: list[ModelCheck] = []
    for model in models:
        if cancel.is_set():
            raise Cancelled(msg("stopped; the models before this one were verified"))
        emit(Started(msg("verifying {name}", name=model.name)))
        known = library.hashes.of_model(model.name)
        sizes = library.sizes(model)
        files = tuple(
            _check(library, file, size, known.get(library.place(file)), cancel, count)
            for file, size in sizes.items()
        )
        problems = tuple(_problems(model))
        bad = problems or not all(file.verdict.good for file in files)
        checked.append(
            ModelCheck(model.name, files, problems, mend(library, model) if bad else None)
        )
    return VerifyResult(tuple(checked))


def _check(
    library: Library,
    path: Path,
    size: int,
    known: FileHash | None,
    cancel: threading.Event,
    count: Callable[[int], None],
) -> FileCheck:
    try:
        status = path.stat()
    except OSError as error:
        verdict = Verdict.MISSING if isinstance(error, FileNotFoundError) else Verdict.UNREADABLE
        return FileCheck(path, verdict, error.strerror or "", None)
    if status.st_size != size:
        detail = f"{status.st_size:,} bytes instead of {size:,}"
        return FileCheck(path, Verdict.WRONG_SIZE, detail, None)
    try:
        sha256 = hash_file(path, cancel, count)
    except BadFileError as error:
        return FileCheck(path, Verdict.UNREADABLE, error.message, None)
    if known is not None and known.sha256 != sha256:
        # So that nobody takes it for unchanged because its time and size are.
        library.hashes.record(library.place(path), replace(known, verified_at=None))
        return FileCheck(path, Verdict.CHANGED, f"its SHA-256 was {known.sha256}", sha256)
    said = known.said_by if known else SaidBy.RECORDED
    library.hashes.record(library.place(path), verified(sha256, said, status, time.time()))
    return FileCheck(path, Verdict.OK if known else Verdict.RECORDED, "", sha256)


def _problems(model: Model) -> list[str]:
    """What the headers say against the model; sizes that do not fit, tensors that are missing."""
    try:
        parameters = parameters_of(model)
    except LocalqError as error:
        return [error.message]
    if model.parameters and parameters != model.parameters:
        return [f"{model.path}: has {parameters:,} parameters, not {model.parameters:,}"]
    return []


def mend(library: Library, model: Model) -> str:
    """The command, or the steps, to get a damaged model back."""
    adopted = next(iter(library.adoptions.of_model(model.name).values()), None)
    if adopted is not None and adopted.tool:
        return msg(
            "get it again in {tool}, then: localq rm {name} --now",
            tool=adopted.tool,
            name=model.name,
        )
    if adopted is not None:
        return msg(
            "localq rm {name}, then import a good copy of {source}",
            name=model.name,
            source=adopted.source,
        )
    repo = model.source.repo
    if repo is None:
        return msg("localq rm {name}, then make it again", name=model.name)
    base, _, quant = model.name.partition(":")
    pulled = f"{repo}@{model.source.revision}" if model.source.revision else repo
    if model.format.is_original or not quant:
        return msg("localq pull {pulled} --force", pulled=pulled)
    if model.format is ModelFormat.INT4:
        method = quant.partition("-")[0].lower()
        return msg("localq quantize {quant} {base} --force", quant=method, base=base)
    if any(known.said_by is SaidBy.HUB for known in library.hashes.of_model(model.name).values()):
        return msg("localq pull {pulled}:{quant} --force", pulled=pulled, quant=quant)
    if any(other.name == base for other in library.models()):
        return msg("localq quantize {quant} {base} --force", quant=quant.lower(), base=base)
    return msg("localq pull {pulled} --as {quant} --force", pulled=pulled, quant=quant.lower())
