"""Get a model into the library: from the Hub, or the demo that localq carries."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localq.errors import BadFileError, NotFoundError, UnsupportedError, UsageError
from localq.events import Emit, Note, Started
from localq.hub.choose_gguf import has_mmproj
from localq.hub.selection import Selection
from localq.hub.source import Source
from localq.hub.spec import is_repo
from localq.hub.staging import drop_empty, staging_folder
from localq.library import Library, Model
from localq.messages import msg
from localq.services.pull.plan import Plan, plan_checkpoint, plan_gguf
from localq.services.pull.remote import as_published, forget_remote
from localq.services.pull.source import DEMO, Choice, choices, find_source, recipe_here
from localq.services.pull.stage import contents, stage
from localq.services.pull.unchanged import refuse_changed, refuse_unlike_listed
from localq.services.pull.usable import refuse_unusable

__all__ = [
    "DEMO",
    "Choice",
    "PullRequest",
    "PullResult",
    "choices",
    "prepare",
    "pull",
    "recipe_here",
]


@dataclass(frozen=True, slots=True)
class PullRequest:
    """`spec` is OWNER/NAME[@REVISION][:QUANT or :FILE.gguf] or "demo"; None: what the recipe in
    the current folder says, else the model recommended for this machine, else (offline) the demo.

    Of a checkpoint, files that match `include` come too, those that match `exclude` do not, and
    `everything` brings all of them. `mmproj` brings the picture encoder of a GGUF; None: where its
    repository has one. `force` reads
    what is here again, and fetches the files that are not what the Hub lists.
    """

    spec: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    everything: bool = False
    mmproj: bool | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class PullResult:
    """`downloaded_bytes` is what came over the network this time, retries included; `compared`
    is False for a model that was there and of which not every file's content was ever compared
    with what it should be."""

    model: Model
    downloaded_bytes: int
    already_there: bool
    compared: bool = True


def pull(library: Library, request: PullRequest, emit: Emit, cancel: threading.Event) -> PullResult:
    """Fetch a model, verify every byte of it and enter it into the library.

    What has arrived when it stops for any reason is kept, and continued the next time. LibraryError
    for a model that is here and not what it was: someone may have changed it on purpose.
    """
    library.trash.settle()  # before anything in the library's folders is relied on
    prepared = prepare(library, request, emit, cancel)
    if isinstance(prepared, Model):
        compared = refuse_changed(library, prepared, emit, cancel)
        return _already_there(library, prepared, compared=compared)
    source, plan = prepared
    earlier = plan.earlier(library)
    if earlier is not None and not request.force:
        refuse_unlike_listed(library, earlier, plan, emit, cancel)
    if earlier is not None and plan.is_whole() and not request.force:
        return _already_there(library, earlier, compared=True)
    emit(Started(msg("pulling {name}", name=plan.name)))
    wanted = {path.relative_to(plan.root).as_posix(): file for path, file in plan.files.items()}
    with staging_folder(
        library.paths.partial, source.repo, source.revision, wanted, source.files
    ) as folder:
        moved = 0
        if plan.weights:
            with _useless_goes(folder):
                moved = refuse_unusable(source, plan, folder, emit, cancel)
        staged = stage(source, plan, folder, emit, cancel)
        with _useless_goes(folder), as_published(source.repo, folder):
            model = plan.describe(folder)
        hashes = contents(plan, folder, cancel)
        for final in plan.files:
            if final in staged.kept:
                plan.staged(folder, final).unlink()
            else:
                library.admit(plan.staged(folder, final), final, replace=True)
        entered = library.add(model, list(plan.files), hashes)
    forget_remote(library.paths, source.repo, source.revision)
    return PullResult(entered, moved + staged.moved_bytes, already_there=False)


@contextmanager
def _useless_goes(folder: Path) -> Iterator[None]:
    """Delete what is staged where it is of no use: it was verified, another try brings the same."""
    try:
        yield
    except (BadFileError, UnsupportedError, NotFoundError):
        shutil.rmtree(folder, ignore_errors=True)
        raise


def prepare(
    library: Library, request: PullRequest, emit: Emit, cancel: threading.Event
) -> tuple[Source, Plan] | Model:
    """What the request means: where from, and which files; or a model that is here and will do."""
    selection = Selection(request.include, request.exclude, request.everything)
    as_it_is = selection == Selection() and not (request.mmproj or request.force)
    found = find_source(library, request.spec, emit, cancel, as_it_is=as_it_is)
    spec, source = found.spec, found.source
    if isinstance(source, Model):
        return source
    if not spec.is_gguf and not request.mmproj:
        return source, plan_checkpoint(library, source, selection, emit, cancel)
    if not spec.is_gguf:
        raise UsageError(
            msg("--mmproj goes with a GGUF"),
            hint=msg("localq pull {repo}:Q4_K_M --mmproj", repo=spec.repo),
        )
    if selection != Selection():
        raise UsageError(
            msg("--include, --exclude and --all are for checkpoints, not for a GGUF"),
            hint=msg("localq pull {name}", name=spec.name),
        )
    mmproj = request.mmproj
    if mmproj is None and (mmproj := has_mmproj(source.files)):
        emit(Note(msg("with its picture encoder; --no-mmproj leaves it out")))
    return source, plan_gguf(library, source, spec, mmproj=bool(mmproj), emit=emit)


def _already_there(library: Library, model: Model, *, compared: bool) -> PullResult:
    if model.source.repo and is_repo(model.source.repo):
        drop_empty(library.paths.partial, model.source.repo)
    library.touch(model.name)
    return PullResult(library.find(model.name), 0, already_there=True, compared=compared)
