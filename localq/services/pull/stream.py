"""From the Hub to a quantized file in one stream: the checkpoint is never on disk."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localq.errors import (
    Cancelled,
    HubError,
    OfflineError,
    StorageError,
    UsageError,
)
from localq.events import Emit, Note, Started
from localq.formats.types import QuantType
from localq.hub.backoff import RetryPolicy
from localq.hub.spec import ModelSpec, parse_spec
from localq.hub.staging import drop_empty
from localq.hub.weight_index import index_reader
from localq.library import Library, Model, ModelSource
from localq.messages import msg
from localq.services.make.destination import made_before
from localq.services.make.making import FileToMake, enter_gguf, make_whole
from localq.services.make.quantize import QuantizeRequest, quantize
from localq.services.pull.arriving import write_as_it_arrives
from localq.services.pull.remote import choose_streamable, forget_remote, open_remote_checkpoint

if TYPE_CHECKING:
    from localq.hub.repository import HubSource
    from localq.services.pull.remote import RemoteCheckpoint

__all__ = ["PullAsRequest", "PullAsResult", "pull_as"]

_WORTH_KEEPING = (Cancelled, KeyboardInterrupt, HubError, StorageError)
"""What may end a stream whose verified part is good to go on from."""
_ELSEWHERE = msg("free some space (localq trash empty), or let LOCALQ_HOME name another folder")


@dataclass(frozen=True, slots=True)
class PullAsRequest:
    """`spec` is OWNER/NAME[@REVISION]; `force` makes anew what is there; `imatrix` is an
    importance matrix."""

    spec: str
    type: QuantType
    force: bool = False
    imatrix: Path | None = None


@dataclass(frozen=True, slots=True)
class PullAsResult:
    """`downloaded_bytes` is what came over the network this time, `seconds` how long all took."""

    model: Model
    downloaded_bytes: int
    already_there: bool
    seconds: float


def pull_as(
    library: Library,
    request: PullAsRequest,
    emit: Emit,
    cancel: threading.Event,
    *,
    policy: RetryPolicy | None = None,
) -> PullAsResult:
    """Quantize a checkpoint while it comes over the network, and enter it into the library.

    What can be wrong with it but its weights is found out before these are fetched. Emits Progress
    in bytes of weights. Every shard is verified before the model is entered; after a stop or a
    kill the same request goes on with the shards that were not. Where the checkpoint is in the
    library, that is quantized.
    """
    from localq.convert import sees_pictures

    began = time.monotonic()
    spec = parse_spec(request.spec)
    if spec.is_gguf:
        raise UsageError(
            msg("{name} is a GGUF, which is quantized already", name=spec.name),
            hint=msg(
                "name the checkpoint alone: localq pull {repo} --as {name}",
                repo=spec.repo,
                name=request.type.name.lower(),
            ),
        )
    library.trash.settle()  # before anything in the library's folders is relied on
    source = _resolve(library, request, spec, emit, cancel, policy)
    if isinstance(source, Model):
        library.touch(source.name)
        return PullAsResult(library.find(source.name), 0, True, time.monotonic() - began)
    origin = ModelSource(source.repo, source.revision)
    if not request.force:
        made = made_before(
            library,
            source.repo,
            request.type,
            emit,
            source=origin,
            is_plain=request.imatrix is None,
        )
        if made is not None:
            drop_empty(library.paths.partial, source.repo)
            return PullAsResult(made, 0, True, time.monotonic() - began)
    if checkpoint := _held_checkpoint(library, origin):
        emit(Note(msg("{name} is in the library already; quantizing that", name=checkpoint.name)))
        local = QuantizeRequest(
            request.type, checkpoint.name, force=request.force, imatrix=request.imatrix
        )
        result = quantize(library, local, emit, cancel)
        assert result.name is not None
        return PullAsResult(library.find(result.name), 0, False, time.monotonic() - began)
    read_index = index_reader(source, emit, cancel, policy)
    choose_streamable(source, read_index, request.type.name.lower())
    emit(Started(msg("{repo} -> {name}", repo=source.repo, name=request.type.name)))
    remote = open_remote_checkpoint(library.paths, source, emit, cancel, policy=policy)
    for warning in remote.model.warnings:
        emit(Note(warning, warning=True))
    if sees_pictures(remote.checkpoint.config):
        emit(
            Note(
                msg(
                    "to see pictures it needs its projector too: localq pull {repo}, then:"
                    " localq convert {repo} --mmproj",
                    repo=source.repo,
                )
            )
        )
    file = _file(library, request, remote)
    with make_whole(
        library,
        [file],
        inside=True,
        replace=True,
        worth_keeping=_WORTH_KEEPING,
        elsewhere=_ELSEWHERE,
    ) as making:
        arrived = write_as_it_arrives(remote, making.files[0], emit, cancel, policy=policy)
        making.finish()
        model = enter_gguf(
            library,
            source.repo,
            request.type,
            {file.path: arrived.sha256},
            architecture=remote.model.architecture,
            parameters=remote.model.parameters,
            source=origin,
        )
    forget_remote(library.paths, source.repo, source.revision)
    return PullAsResult(
        model, remote.fetched_bytes + arrived.moved_bytes, False, time.monotonic() - began
    )


def _resolve(
    library: Library,
    request: PullAsRequest,
    spec: ModelSpec,
    emit: Emit,
    cancel: threading.Event,
    policy: RetryPolicy | None,
) -> HubSource | Model:
    """What `spec` means; offline, the model itself if it is there, perhaps of another commit."""
    from localq.hub.repository import HubSource

    try:
        source = HubSource.resolve(spec, emit=emit, cancel=cancel, policy=policy)
    except OfflineError as error:
        held = library.get(f"{spec.repo}:{request.type.name}")
        if held is None or request.force or spec.revision or not held.path.is_file():
            raise
        emit(
            Note(
                msg(
                    "{message}; {name} is here, perhaps not its latest",
                    message=error.message,
                    name=held.name,
                ),
                warning=True,
            )
        )
        return held
    if source.repo.casefold() != spec.repo.casefold():
        emit(Note(msg("{repo} is now called {repo2}", repo=spec.repo, repo2=source.repo)))
    return source


def _held_checkpoint(library: Library, origin: ModelSource) -> Model | None:
    for model in library.models():
        if model.format.is_original and model.source == origin:
            return model if model.path.is_dir() else None
    return None


def _file(library: Library, request: PullAsRequest, remote: RemoteCheckpoint) -> FileToMake:
    """What is to be written; its key names the commit's files by their checksums."""
    from localq.quantize.imatrix import read_imatrix
    from localq.quantize.journal import content_key
    from localq.quantize.layout import lay_out
    from localq.quantize.options import QuantOptions

    imatrix = read_imatrix(request.imatrix) if request.imatrix else None
    layout = lay_out(remote.model.fields, remote.model.tensors, QuantOptions(request.type), imatrix)
    # The layout says what became of the small files: a new README alone changes nothing.
    contents = [f"{file.path}\0{file.digest.hex}" for file in remote.chosen.weight_files]
    path = library.gguf_path(remote.source.repo, request.type.name)
    return FileToMake(path, layout, content_key(layout, sorted(contents)))
