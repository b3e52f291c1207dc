"""Files in the models folder that no entry has: left between a move and the entry, or put there.

What is a whole model is offered back to the library under the name its place gives it; the rest
goes into the trash.
"""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from localq.errors import LocalqError
from localq.formats.gguf_split import read_shards
from localq.library import Library, Model, ModelFormat
from localq.library.filenames import component_problem
from localq.library.store import TRASH
from localq.messages import msg
from localq.partials import is_unfinished
from localq.services.doctor.doctor import CheckContext, Problem
from localq.services.doctor.leftovers import in_use
from localq.services.jobs.partials import claimed_folders
from localq.services.library.candidate import refuse_no_model
from localq.services.library.int4_folder import int4_model, is_int4_folder
from localq.services.library.names import quant_of

__all__ = ["unowned"]

_JUNK = frozenset([".DS_Store", "Thumbs.db", "desktop.ini"])
_SETTLE_SECONDS = 3.0
"""A file so fresh may be entered any moment by the process that put it there."""
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


def unowned(context: CheckContext) -> Iterator[Problem]:
    library = context.library
    orphans = _orphans(library)
    now = time.time()
    youngest = max((_changed(path) for path in orphans), default=0.0)
    if now - _SETTLE_SECONDS < youngest <= now:
        context.cancel.wait(youngest + _SETTLE_SECONDS - now)
        orphans = _orphans(library)
    by_folder: defaultdict[Path, list[Path]] = defaultdict(list)
    for path in orphans:
        by_folder[_model_folder(library, path)].append(path)
    claimed = claimed_folders(library)
    for folder, files in sorted(by_folder.items()):
        place = folder.relative_to(library.paths.models)
        if folder in claimed:
            continue  # a job that was interrupted goes on with them
        if not in_use(library.paths.partial / place / ".lock"):
            yield from _in_folder(library, folder, files)


def _model_folder(library: Library, path: Path) -> Path:
    """The folder ORG/NAME whose model the file is part of, however deep in it."""
    root = library.paths.models
    return root.joinpath(*path.parent.relative_to(root).parts[:2])


def _orphans(library: Library) -> list[Path]:
    root = library.paths.models
    owned = {path for sizes in library.all_sizes().values() for path in sizes}
    moving: set[Path] = set()
    for entry in library.trash.unsettled():
        trash = root / TRASH / str(entry.id)
        for file in entry.files:
            moving.add(root / file.relative_to(trash) if file.is_relative_to(trash) else file)
    found: list[Path] = []
    for here, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name != TRASH)
        found += [
            path
            for name in sorted(names)
            if (path := Path(here, name)) not in owned | moving
            and name not in _JUNK
            and not is_unfinished(path)
        ]
    return found


def _changed(path: Path) -> float:
    try:
        return path.lstat().st_ctime
    except OSError:
        return 0.0


def _in_folder(library: Library, folder: Path, files: list[Path]) -> Iterator[Problem]:
    left = set(files)
    for path in files:
        if path.suffix == ".gguf" and path in left and (model := _gguf(library, path)):
            shards = [shard.path for shard in read_shards(path)]
            if left.issuperset(shards):
                left.difference_update(shards)
                yield _whole(library, model, shards)
    for inside in sorted({path.parent for path in left} - {folder}):
        own = [path for path in sorted(left) if path.parent == inside]
        if model := _int4(library, folder, inside, own):
            left.difference_update(own)
            yield _whole(library, model, own)
    plain = [path for path in sorted(left) if path.suffix != ".gguf"]
    if plain and (model := _checkpoint(library, folder, plain)):
        left.difference_update(plain)
        yield _whole(library, model, plain)
    rest = sorted(left)
    if not rest:
        return
    what = msg("{rest}: belongs to no model", rest=rest[0]) + (
        f", nor do {len(rest) - 1} more" * (len(rest) > 1)
    )
    places = [path.relative_to(library.paths.models) for path in rest]
    if any(component_problem(part) for place in places for part in place.parts):
        yield Problem(what, msg("it has a name that localq gives to nothing: look at it yourself"))
        return
    name = "/".join([*places[0].parts[:-1], places[0].name][:2]) + ":orphan"
    yield Problem(
        what,
        msg("moves {word} into the trash", word=("it" if len(rest) == 1 else "them")),
        partial(library.trash.put_files, [place.as_posix() for place in places], name),
    )


def _whole(library: Library, model: Model, files: list[Path]) -> Problem:
    return Problem(
        msg("{path}: belongs to no model, but is a whole one", path=model.path),
        msg("enters it into the library as {name}", name=model.name),
        partial(library.add, model, files),
    )


def _gguf(library: Library, path: Path) -> Model | None:
    """The entry for a whole GGUF in its right place under a name that is free."""
    try:
        shards = read_shards(path)
        refuse_no_model(shards[0])
        repo = path.parent.relative_to(library.paths.models).as_posix()
        stem = _SHARD.sub("", path.stem)
        prefix = f"{path.parent.name}-"
        named = stem.removeprefix(prefix) if stem.startswith(prefix) else ""
        quant = named or quant_of(shards[0], path)
        return _free(
            library,
            Model.new(
                f"{repo}:{quant}",
                ModelFormat.GGUF,
                quant,
                shards[0].path,
                architecture=shards[0].architecture,
                parameters=sum(shard.parameters for shard in shards),
                size_bytes=sum(shard.size_bytes for shard in shards),
            ),
        )
    except LocalqError:
        return None


def _checkpoint(library: Library, folder: Path, files: list[Path]) -> Model | None:
    from localq.convert import open_checkpoint

    try:
        found = open_checkpoint(folder)
        name = folder.relative_to(library.paths.models).as_posix()
        return _free(
            library,
            Model.new(
                name,
                ModelFormat.SAFETENSORS,
                found.dtype,
                folder,
                architecture=found.architecture,
                parameters=found.parameters,
                size_bytes=sum(path.stat().st_size for path in files),
            ),
        )
    except LocalqError:
        return None


def _int4(library: Library, folder: Path, inside: Path, files: list[Path]) -> Model | None:
    """The entry for a whole INT4 checkpoint in the folder that localq gave it."""
    try:
        if not is_int4_folder(inside):
            return None
        repo = folder.relative_to(library.paths.models).as_posix()
        label = inside.name.removeprefix(f"{folder.name}-")
        size = sum(path.stat().st_size for path in files)
        return _free(library, int4_model(inside, f"{repo}:{label}", inside, size_bytes=size))
    except LocalqError:
        return None


def _free(library: Library, model: Model) -> Model | None:
    taken = {other.name.casefold() for other in library.models()}
    return None if model.name.casefold() in taken else model
