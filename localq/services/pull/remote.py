"""A checkpoint on the Hub that is known, but not fetched: small files and headers alone."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localq.display import byte_size
from localq.errors import (
    BadFileError,
    HubError,
    NotFoundError,
    StorageError,
    UnsupportedError,
    storage_errors,
)
from localq.events import Emit, JobEvent, Progress
from localq.hub.backoff import Backoff, RetryPolicy
from localq.hub.choose import Chosen, Weights, choose_checkpoint
from localq.hub.fetch import fetch_all
from localq.hub.headers import RemoteHeader, fetch_range, read_remote_headers
from localq.hub.source import RemoteFile, Source
from localq.hub.staging import partial_folder, staging_folder
from localq.hub.weight_index import ReadIndex, index_reader
from localq.library.filenames import component_problem
from localq.messages import msg
from localq.paths import Paths

if TYPE_CHECKING:
    from localq.convert import Checkpoint, ConvertedModel

__all__ = [
    "RemoteCheckpoint",
    "as_published",
    "choose_streamable",
    "forget_remote",
    "kept_folder",
    "open_remote_checkpoint",
]

_MOST_SMALL_BYTES = 512 << 20
"""Of all files that are no weights: a hostile list of files must not fill the disk."""
_MOST_READ_BYTES = 16 << 20
"""Of one tensor that a conversion must look at."""
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")


@dataclass(frozen=True, slots=True)
class RemoteCheckpoint:
    """`shards` by the paths that they have in `checkpoint`, where no file is; `model` is what
    conversion makes of it; `fetched_bytes` came over the network to find out."""

    source: Source
    chosen: Chosen
    checkpoint: Checkpoint
    model: ConvertedModel
    shards: Mapping[Path, RemoteFile]
    headers: Mapping[Path, RemoteHeader]
    fetched_bytes: int


def open_remote_checkpoint(
    paths: Paths,
    source: Source,
    emit: Emit,
    cancel: threading.Event,
    *,
    policy: RetryPolicy | None = None,
) -> RemoteCheckpoint:
    """Fetch what says all about the checkpoint of `source` but its weights, and convert that.

    The small files are verified and kept in the cache, for the next time. Raises UnsupportedError
    for what cannot be read so, BadFileError and NotFoundError for a config, tokenizer or header
    that make no sense, HubError, OfflineError, StorageError, Cancelled.
    """
    from localq.convert import convert_checkpoint, open_checkpoint

    chosen = choose_streamable(source, index_reader(source, emit, cancel, policy))
    small = _small_files(source.repo, chosen)
    quietly = _without_progress(emit)
    with staging_folder(_cache(paths), source.repo, source.revision) as folder:
        targets = {folder / file.path: file for file in small}
        with storage_errors(folder):
            for target in targets:
                target.parent.mkdir(parents=True, exist_ok=True)
        moved = fetch_all(source, targets, emit=quietly, cancel=cancel, policy=policy)
        shards = {folder / file.path: file for file in chosen.weight_files}
        found = read_remote_headers(
            source, list(shards.values()), emit=quietly, cancel=cancel, policy=policy
        )
        moved += sum(header.fetched_bytes for header in found)
        headers = dict(zip(shards, found, strict=True))

        def read(path: Path, offset: int, count: int) -> bytes:
            nonlocal moved
            if count > _MOST_READ_BYTES:
                raise BadFileError(
                    path, msg("{count:,} bytes to be looked at", count=count), offset=offset
                )
            moved += count
            backoff = Backoff(policy or RetryPolicy(), cancel, quietly)
            return fetch_range(source, shards[path], offset, offset + count, backoff)

        with as_published(source.repo, folder):
            checkpoint = open_checkpoint(
                folder,
                name=source.repo.rpartition("/")[2],
                shards={path: header.tensors for path, header in headers.items()},
                read=read,
            )
            model = convert_checkpoint(checkpoint)
    return RemoteCheckpoint(source, chosen, checkpoint, model, shards, headers, moved)


def choose_streamable(source: Source, read_index: ReadIndex, as_type: str = "TYPE") -> Chosen:
    """The files of the checkpoint; UnsupportedError unless its weights can be read in one go.

    `as_type` is what the user wants of it, for the command that does it otherwise.
    """
    chosen = choose_checkpoint(source.repo, source.files, read_index=read_index)
    if chosen.weights is Weights.PYTORCH:
        last = chosen.weight_files[-1].path
        raise UnsupportedError(
            msg(
                "{repo} has its weights in {last}, which cannot be quantized as it arrives",
                repo=source.repo,
                last=last,
            ),
            hint=msg(
                "localq pull {repo}, then: localq quantize {as_type} {repo}",
                repo=source.repo,
                as_type=as_type,
            ),
        )
    return chosen


def kept_folder(paths: Paths, repo: str, revision: str) -> Path:
    """Where `open_remote_checkpoint` keeps small files of a repository, if it did."""
    return partial_folder(_cache(paths), repo, revision)


def forget_remote(paths: Paths, repo: str, revision: str) -> None:
    """Delete what `open_remote_checkpoint` keeps of a repository, unless someone is at it."""
    if not (_cache(paths) / repo).is_dir():
        return
    with (
        suppress(HubError, StorageError),
        staging_folder(_cache(paths), repo, revision) as folder,
    ):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def as_published(repo: str, folder: Path) -> Iterator[None]:
    """Let errors name the repository instead of the folder, and not ask for another download."""
    try:
        yield
    except (BadFileError, NotFoundError, UnsupportedError) as error:
        error.message = error.message.replace(str(folder), repo)
        error.args = (error.message,)
        if "--with llama.cpp" in (error.hint or ""):
            error.hint = (
                f"llama.cpp's own converter may know it: localq pull {repo}, "
                f"then: localq quantize TYPE {repo} --with llama.cpp"
            )
        elif not isinstance(error, UnsupportedError):
            error.hint = "it is published so: choose another revision, or the original model"
        raise


def _cache(paths: Paths) -> Path:
    return paths.cache / "hub"


def _small_files(repo: str, chosen: Chosen) -> list[RemoteFile]:
    weights = set(chosen.weight_files)
    small = [
        file
        for file in chosen.files
        if file not in weights and not file.path.lower().endswith(_WEIGHTS)
    ]
    for file in (*small, *chosen.weight_files):
        for part in file.path.split("/"):
            if problem := component_problem(part):
                raise HubError(
                    msg(
                        "{repo} has a file that localq will not write: {path!r}: {problem}",
                        repo=repo,
                        path=file.path,
                        problem=problem,
                    )
                )
    if sum(file.size for file in small) > _MOST_SMALL_BYTES:
        raise HubError(
            msg(
                "{repo} has more than {most_small_bytes} of files beside its weights",
                repo=repo,
                most_small_bytes=byte_size(_MOST_SMALL_BYTES),
            )
        )
    if not any(file.path in ("config.json", "params.json") for file in small):
        raise NotFoundError(
            msg("{repo} has no config.json: not a checkpoint that localq can use", repo=repo),
            hint=msg("choose the repository of the original model"),
        )
    return small


def _without_progress(emit: Emit) -> Emit:
    def quietly(event: JobEvent) -> None:
        if not isinstance(event, Progress):
            emit(event)

    return quietly
