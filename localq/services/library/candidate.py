"""A model on disk that may enter the library: what it is, and where its files would go."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from localq.errors import BadFileError, LibraryError, NotFoundError, UnsupportedError, UsageError
from localq.formats.adapter import is_adapter, read_adapter
from localq.formats.gguf import GGUFFile
from localq.formats.gguf_split import read_shards, shard_paths
from localq.formats.json_file import read_json_object
from localq.formats.weight_files import (
    INDEXES,
    AmbiguousWeightsError,
    IncompleteWeightsError,
    find_weight_files,
)
from localq.hub.choose import WITH_WEIGHTS, module_files
from localq.library import Library, Model, ModelFormat, ModelSource
from localq.library.filenames import component_problem
from localq.library.foreign import ForeignModel, FoundFile
from localq.library.foreign.found import plain_file, walk_files
from localq.library.model import OWN
from localq.messages import msg
from localq.services.library.headers import refuse_wrong_shapes
from localq.services.library.int4_folder import int4_model, is_int4_folder
from localq.services.library.names import parse_name, quant_of, repo_of_gguf, safe_repo

__all__ = ["ImportCandidate", "describe", "found_at", "refuse_no_model"]

_SMALL = WITH_WEIGHTS | INDEXES | {"preprocessor_config.json"}
_NO_MODEL = {
    "adapter": "an adapter for a model",
    "imatrix": "an importance matrix",
    "mmproj": "the picture encoder of a model",
    "projector": "the picture encoder of a model",
    "vocab": "a vocabulary",
}


@dataclass(frozen=True, slots=True)
class ImportCandidate:
    """`model` as it would be entered; `targets` is each real file's place in the library."""

    found: ForeignModel
    model: Model
    targets: Mapping[Path, Path]


def found_at(path: Path) -> ForeignModel:
    """What the user names: a GGUF, any shard of one, or a checkpoint's folder.

    The path itself may be a link; what it leads to may hold no links that lead out of it.
    """
    whole = Path(os.path.expanduser(path)).absolute()  # noqa: PTH111 - Path refuses "~nobody"
    if whole.is_dir():
        return _folder(whole)
    if not whole.is_file():
        raise NotFoundError(msg("{path}: no such file or folder", path=path))
    if whole.suffix.lower() == ".safetensors":
        raise UsageError(
            msg("{path}: is a part of a checkpoint", path=path),
            hint=msg("name its folder: {parent}", parent=whole.parent),
        )
    shards = [shard.path for shard in read_shards(whole)]
    files = [_checked(shard, shard.resolve().parent) for shard in shards]
    return ForeignModel(tool="", label=str(path), files=tuple(files))


def describe(library: Library, found: ForeignModel, name: str | None) -> ImportCandidate:
    """Read the headers. `name` is ORG/NAME[:QUANT] instead of the one that would be derived.

    BadFileError for damaged files, UnsupportedError for what is no model that localq can use,
    LibraryError for what lies in the library's own folder.
    """
    inside = library.paths.models.resolve()
    for file in found.files:
        if file.real.is_relative_to(inside):
            raise LibraryError(
                msg("{path}: is in localq's own folder already", path=file.path),
                hint=msg("localq list shows the models, localq doctor what is amiss"),
            )
    repo, quant = parse_name(name) if name else (None, None)
    if found.folder is not None:
        if quant:
            raise UsageError(msg("{name!r}: a checkpoint's name has no quantization", name=name))
        return _checkpoint(library, found, repo)
    return _gguf(library, found, repo, quant)


def refuse_no_model(file: GGUFFile) -> None:
    """UnsupportedError for GGUF files that hold something else than a language model."""
    kind = file.metadata.get("general.type")
    what = _NO_MODEL.get(kind) if isinstance(kind, str) else None
    if file.architecture == "clip":
        what = _NO_MODEL["mmproj"]
    elif what is None and not file.tensors and "split.count" not in file.fields:
        what = msg("a file without weights")
    if what:
        raise UnsupportedError(
            msg("{path}: is {what}, not a model that can be run", path=file.path, what=what)
        )


def _gguf(
    library: Library, found: ForeignModel, repo: str | None, quant: str | None
) -> ImportCandidate:
    first = found.files[0].path
    shards = read_shards(first)
    if [shard.path for shard in shards] != [file.path for file in found.files]:
        raise BadFileError(first, msg("the files of the model are not all there"))
    adapter = is_adapter(shards[0])
    if adapter:
        read_adapter(first, shards[0].architecture)
    else:
        refuse_no_model(shards[0])
        refuse_wrong_shapes(shards)
    known = safe_repo(found.repo) if found.repo else None
    repo = repo or known or repo_of_gguf(shards[0], first)
    quant = quant or quant_of(shards[0], first)
    single = library.gguf_path(repo, quant)
    places = shard_paths(single, len(shards))
    targets = {file.real: place for file, place in zip(found.files, places, strict=True)}
    model = Model.new(
        f"{repo}:{quant}",
        ModelFormat.ADAPTER if adapter else ModelFormat.GGUF,
        quant,
        places[0],
        architecture=shards[0].architecture,
        parameters=sum(shard.parameters for shard in shards),
        size_bytes=found.size_bytes,
        source=_source(found),
    )
    return ImportCandidate(found, model, targets)


def _checkpoint(library: Library, found: ForeignModel, repo: str | None) -> ImportCandidate:
    assert found.folder is not None
    places = {file.path.relative_to(found.folder).as_posix(): file for file in found.files}
    parts = {place: places[place] for place in sorted(_parts(places.keys(), found.folder))}
    repo = repo or safe_repo(found.repo or found.folder.resolve().name)
    folder = library.checkpoint_folder(repo)
    for file in parts.values():
        if problem := component_problem(file.path.name):
            raise UnsupportedError(
                msg(
                    "{path}: localq gives no file that name: {problem}",
                    path=file.path,
                    problem=problem,
                )
            )
    chosen = replace(found, files=tuple(parts.values()))
    return ImportCandidate(
        chosen,
        _entry_of_folder(chosen, found.folder, repo, folder),
        {file.real: folder / place for place, file in parts.items()},
    )


def _entry_of_folder(chosen: ForeignModel, root: Path, repo: str, place: Path) -> Model:
    from localq.convert import open_checkpoint

    source = _source(chosen)
    if is_int4_folder(root):
        return int4_model(root, repo, place, size_bytes=chosen.size_bytes, source=source)
    opened = open_checkpoint(root)
    return Model.new(
        repo,
        ModelFormat.SAFETENSORS,
        opened.dtype,
        place,
        architecture=opened.architecture,
        parameters=opened.parameters,
        size_bytes=chosen.size_bytes,
        source=source,
    )


def _parts(places: Collection[str], folder: Path) -> set[str]:
    """What a checkpoint is made of, the same as `localq pull` fetches; paths in its folder."""
    top = [place for place in places if "/" not in place]
    try:
        found = find_weight_files(top, lambda name: read_json_object(folder / name))
    except IncompleteWeightsError as error:
        raise BadFileError(folder, str(error), hint=msg("get the missing files first")) from None
    except AmbiguousWeightsError as error:
        raise UnsupportedError(
            msg("{folder}: {error}", folder=folder, error=error),
            hint=msg("leave the files of one model in the folder"),
        ) from None
    weights = set(found.names) if found else set[str]()
    return weights | (_SMALL & set(places)) | set(module_files(places))


def _folder(path: Path) -> ForeignModel:
    if not (path / "config.json").is_file():
        from localq.convert.checkpoint import refuse_adapter

        refuse_adapter(path)
        ggufs = sorted(path.glob("*.gguf"))
        raise NotFoundError(
            msg("{path}: no config.json in it, so no checkpoint", path=path),
            hint=msg("name the files: localq import {ggufs}", ggufs=ggufs[0]) if ggufs else None,
        )
    within = _root_of(path)
    below = walk_files(path, depth=1)
    parts = _parts([file.relative_to(path).as_posix() for file in below], path)
    files = [_checked(path / part, within) for part in sorted(parts)]
    return ForeignModel(tool="", label=str(path), files=tuple(files), folder=path)


def _root_of(folder: Path) -> Path:
    """How far links in the folder may lead: out of a snapshot of a Hub cache into its blobs."""
    real = folder.resolve()
    if real.parent.name == "snapshots" and real.parent.parent.name.startswith("models--"):
        return real.parent.parent
    return real


def _checked(path: Path, within: Path) -> FoundFile:
    file = plain_file(path, within)
    if isinstance(file, str):
        raise BadFileError(path, file.removeprefix(f"{path}: "))
    return file


def _source(found: ForeignModel) -> ModelSource:
    on_hub = found.from_hub and found.repo is not None and safe_repo(found.repo) == found.repo
    return ModelSource(found.repo, found.revision) if on_hub else OWN
