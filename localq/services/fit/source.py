"""What is known of a model before it is fetched or made, from headers and small files alone."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from localq.errors import NotFoundError, UnsupportedError
from localq.events import Emit
from localq.formats.gguf import GGUFTensor, Plain
from localq.formats.gguf_split import read_shards
from localq.hub.backoff import RetryPolicy
from localq.hub.choose_gguf import choose_gguf, gguf_quants
from localq.hub.headers import read_remote_gguf
from localq.hub.source import RemoteFile, Source
from localq.hub.spec import ModelSpec
from localq.hub.weight_index import index_reader
from localq.library import Library, Model
from localq.messages import msg
from localq.services.fit.offers import LOSSLESS, Offer, offers_like, offers_to_make, plain
from localq.services.make.destination import repo_of
from localq.services.pull.related_repositories import quant_files, total_bytes
from localq.services.pull.remote import choose_streamable, open_remote_checkpoint

__all__ = ["FitKind", "DescribedModel", "known_here", "known_on_hub"]


class FitKind(StrEnum):
    """What a model can still become."""

    CHECKPOINT = "checkpoint"
    """A type is to be chosen, and made."""
    GGUF_REPO = "gguf repository"
    """Files are there to choose from."""
    GGUF = "gguf"
    """One file, as it is."""


@dataclass(frozen=True, slots=True)
class DescribedModel:
    """`name` is as a command takes it; `repo` None: it is on this disk. `total_bytes` are those of
    the files it would take to know it otherwise, `fetched_bytes` came over the network."""

    kind: FitKind
    name: str
    repo: str | None
    revision: str | None
    metadata: Mapping[str, Plain]
    parameters: int
    total_bytes: int
    fetched_bytes: int
    offers: tuple[Offer, ...]
    warnings: tuple[str, ...] = ()


def known_here(model: Model, *, every: bool) -> DescribedModel:
    """A checkpoint or GGUF on disk. BadFileError, NotFoundError, UnsupportedError."""
    if model.format.is_file and not model.path.is_file():
        raise NotFoundError(
            msg("{name}: its file is gone: {path}", name=model.name, path=model.path),
            hint=msg("forget it with: localq rm {name}", name=model.name),
        )
    warnings: tuple[str, ...] = ()
    kind = FitKind.CHECKPOINT
    if model.format.is_original:
        from localq.convert import convert_checkpoint, open_checkpoint

        name = repo_of(model).rpartition("/")[2]
        made = convert_checkpoint(open_checkpoint(model.path, name=name))
        metadata, parameters, warnings = plain(made.fields), made.parameters, made.warnings
        offers = offers_to_make(
            made.fields, made.tensors, name=model.name, converted=True, every=every
        )
    else:
        shards = read_shards(model.path)
        tensors = [tensor for shard in shards for tensor in shard.tensors]
        metadata, parameters = shards[0].metadata, sum(shard.parameters for shard in shards)
        quant = shards[0].quant
        if quant in LOSSLESS:
            from localq.convert.requantize import open_gguf

            whole = open_gguf(model.path)
            offers = offers_to_make(
                whole.fields, whole.tensors, name=model.name, converted=False, every=every
            )
        else:
            kind = FitKind.GGUF
            size = sum(shard.size_bytes for shard in shards)
            offers = offers_like({quant: size}, quant, metadata, tensors, name=model.name)
    return DescribedModel(
        kind,
        model.name,
        None,
        model.source.revision,
        metadata,
        parameters,
        model.size_bytes,
        0,
        offers,
        warnings,
    )


def known_on_hub(
    library: Library,
    source: Source,
    spec: ModelSpec,
    emit: Emit,
    cancel: threading.Event,
    *,
    every: bool,
    policy: RetryPolicy | None = None,
) -> DescribedModel:
    """A repository. Raises as `open_remote_checkpoint`, and NotFoundError for a GGUF that is not
    there; what was fetched for a checkpoint is kept for who quantizes it as it comes."""
    if spec.is_gguf:
        return _known_file(source, spec, emit, cancel, policy)
    try:
        choose_streamable(source, index_reader(source, emit, cancel, policy))
    except UnsupportedError:
        if not gguf_quants(source.files):
            raise
        return _known_files(source, spec, emit, cancel, policy)
    remote = open_remote_checkpoint(library.paths, source, emit, cancel, policy=policy)
    made = remote.model
    return DescribedModel(
        FitKind.CHECKPOINT,
        _at_revision(source, spec),
        source.repo,
        source.revision,
        plain(made.fields),
        made.parameters,
        remote.chosen.size_bytes,
        remote.fetched_bytes,
        offers_to_make(made.fields, made.tensors, name=source.repo, converted=True, every=every),
        made.warnings,
    )


def _known_file(
    source: Source,
    spec: ModelSpec,
    emit: Emit,
    cancel: threading.Event,
    policy: RetryPolicy | None,
) -> DescribedModel:
    chosen = choose_gguf(spec, source.files)
    header = _read(source, chosen.files, emit, cancel, policy)
    size = total_bytes(chosen.files)
    name = f"{_at_revision(source, spec)}:{spec.quant or spec.file}"
    offers = offers_like(
        {chosen.label: size}, chosen.label, header.metadata, header.tensors, name=name
    )
    return _ready(FitKind.GGUF, name, source, header, size, offers)


def _known_files(
    source: Source,
    spec: ModelSpec,
    emit: Emit,
    cancel: threading.Event,
    policy: RetryPolicy | None,
) -> DescribedModel:
    """All files of the repository, after the header of one."""
    every = quant_files(source.repo, source.files)
    if not every:
        raise NotFoundError(
            msg("{repo} has no whole GGUF file", repo=source.repo),
            hint=msg("choose another repository"),
        )
    sizes = {quant: total_bytes(files) for quant, files in every.items()}
    # Each shard has a header of its own to ask for; what is chosen most is estimated best.
    known = min(sizes, key=lambda quant: (len(every[quant]), quant != "Q4_K_M", sizes[quant]))
    header = _read(source, every[known], emit, cancel, policy)
    name, total = _at_revision(source, spec), sum(sizes.values())
    offers = offers_like(sizes, known, header.metadata, header.tensors, name=name)
    return _ready(FitKind.GGUF_REPO, name, source, header, total, offers)


@dataclass(frozen=True, slots=True)
class _Header:
    metadata: Mapping[str, Plain]
    tensors: tuple[GGUFTensor, ...]
    parameters: int
    fetched_bytes: int


def _read(
    source: Source,
    files: Sequence[RemoteFile],
    emit: Emit,
    cancel: threading.Event,
    policy: RetryPolicy | None,
) -> _Header:
    read = [
        read_remote_gguf(source, file, emit=emit, cancel=cancel, policy=policy) for file in files
    ]
    return _Header(
        read[0].file.metadata,
        tuple(tensor for shard in read for tensor in shard.file.tensors),
        sum(shard.file.parameters for shard in read),
        sum(shard.fetched_bytes for shard in read),
    )


def _ready(
    kind: FitKind,
    name: str,
    source: Source,
    header: _Header,
    total: int,
    offers: tuple[Offer, ...],
) -> DescribedModel:
    return DescribedModel(
        kind,
        name,
        source.repo,
        source.revision,
        header.metadata,
        header.parameters,
        total,
        header.fetched_bytes,
        offers,
    )


def _at_revision(source: Source, spec: ModelSpec) -> str:
    return f"{source.repo}@{spec.revision}" if spec.revision else source.repo
