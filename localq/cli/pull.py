"""`localq pull [REPO]`"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option
from localq.cli.progress import ProgressDisplay
from localq.display import byte_size
from localq.errors import UsageError
from localq.library import Library
from localq.messages import msg

if TYPE_CHECKING:
    from localq.services.jobs.kind import JobKind
    from localq.services.pull.pull import PullRequest
    from localq.services.pull.stream import PullAsRequest

__all__ = ["command"]

_Request = TypeVar("_Request")
_Result = TypeVar("_Result")


@click.command()
@click.argument("spec", required=False, metavar="[REPO[@REVISION][:QUANT|:FILE]]")
@click.option("--as", "type_", metavar="TYPE", help="Quantize it as it comes; see quantize.")
@click.option(
    "--force",
    is_flag=True,
    help="Read what is here again and fetch what is damaged; with --as: make it anew.",
)
@click.option(
    "--include",
    multiple=True,
    metavar="PATTERN",
    help="Fetch files that match too, such as 'onnx/*'; may be repeated.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="Leave out files that match, such as README.md; may be repeated.",
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Fetch all files but other models: GGUFs, and second sets of weights.",
)
@click.option(
    "--mmproj/--no-mmproj",
    default=None,
    help="With the picture encoder of a GGUF, or without; as it is, where there is one.",
)
@click.option("--dry-run", is_flag=True, help="List the files and their sizes; fetch nothing.")
@click.option("--detach", is_flag=True, help="Work in the background; see localq jobs.")
@json_option
def command(
    spec: str | None,
    type_: str | None,
    force: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    everything: bool,
    mmproj: bool | None,
    dry_run: bool,
    detach: bool,
    as_json: bool,
) -> None:
    """Download a model from the Hugging Face Hub into the library.

    REPO is a checkpoint such as HuggingFaceTB/SmolLM2-135M-Instruct, of which the files come that
    localq needs. REPO:Q4_K_M fetches a ready GGUF, REPO:FILE.gguf that very file; `demo` is a tiny
    model that comes with localq. Without REPO: the model that localq.toml in this folder names,
    else one that fits this machine.
    """
    from localq.services.jobs.kinds.pull import PullKind
    from localq.services.pull.pull import PullRequest

    with Library() as library:
        if spec is None and not as_json and sys.stdin.isatty() and sys.stderr.isatty():
            spec = _choose(library)
        request = PullRequest(spec, include, exclude, everything, mmproj, force)
        if type_ is not None:
            _refuse_with_as(spec, type_, request, dry_run=dry_run)
            _pull_as(library, spec or "", type_, force=force, detach=detach, as_json=as_json)
            return
        if dry_run:
            _preview(library, request, as_json=as_json)
            return
        if detach:
            _detach(library, request, as_json=as_json)
            return
        result = _recorded(library, PullKind(), request)
    if as_json:
        output.json_document(result)
        return
    if result.already_there and result.compared:
        output.narrate(msg("complete and unchanged; nothing to download"))
    elif result.already_there:
        output.narrate(
            msg(
                "all files are there, by their sizes; localq verify {name} reads them",
                name=result.model.name,
            )
        )
    output.line(result.model.name)


def _recorded(library: Library, kind: JobKind[_Request, _Result], request: _Request) -> _Result:
    """Do the work as a job, with its progress shown."""
    from localq.services.jobs.jobs import recorded

    with cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
        return recorded(kind, library, request, emit, cancel)


def _detach(library: Library, request: PullRequest | PullAsRequest, *, as_json: bool) -> None:
    from localq.cli.jobs import report_detached
    from localq.services.jobs.detach import start_detached

    report_detached(start_detached(library, request), as_json=as_json)


def _refuse_with_as(spec: str | None, type_: str, request: PullRequest, *, dry_run: bool) -> None:
    from localq.services.pull.pull import DEMO

    given = {
        "--include": bool(request.include),
        "--exclude": bool(request.exclude),
        "--all": request.everything,
        "--mmproj": bool(request.mmproj),
        "--dry-run": dry_run,
    }
    if wrong := next((option for option, is_given in given.items() if is_given), None):
        hint = msg("localq fit {spec}: the exact size of every type", spec=spec or "REPO")
        raise UsageError(
            msg("{wrong} does not go with --as", wrong=wrong),
            hint=hint if wrong == "--dry-run" else msg("leave out one of them"),
        )
    if spec is None:
        raise UsageError(msg("--as needs a REPO"), hint="localq pull OWNER/NAME --as q4_0")
    if spec.strip().casefold() in ("demo", DEMO.casefold()):
        raise UsageError(
            msg("the demo comes with localq, not over the network"),
            hint=msg(
                "localq pull demo && localq quantize {type} {demo}", type=type_.lower(), demo=DEMO
            ),
        )


def _pull_as(
    library: Library, spec: str, type_: str, *, force: bool, detach: bool, as_json: bool
) -> None:
    from localq.formats.types import QuantType
    from localq.services.jobs.kinds.pull_as import PullAsKind
    from localq.services.pull.stream import PullAsRequest

    request = PullAsRequest(spec, QuantType.parse(type_), force)
    if detach:
        _detach(library, request, as_json=as_json)
        return
    result = _recorded(library, PullAsKind(), request)
    if as_json:
        output.json_document(result)
        return
    if not result.already_there:
        size = byte_size(result.model.size_bytes)
        output.narrate(msg("{size} in {seconds:.1f} s", size=size, seconds=result.seconds))
    output.line(result.model.name)


def _preview(library: Library, request: PullRequest, *, as_json: bool) -> None:
    from localq.services.pull.preview import preview_pull

    with cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
        preview = preview_pull(library, request, emit, cancel)
    if as_json:
        output.json_document(preview)
        return
    if preview.files:
        output.table(
            (msg("FILE"), msg("SIZE"), msg("HERE")),
            (
                (
                    file.path,
                    byte_size(file.size_bytes),
                    _share(file.present_bytes, file.size_bytes),
                )
                for file in preview.files
            ),
        )
    if preview.already_there:
        output.narrate(msg("{name} is complete; nothing to download", name=preview.name))
        return
    output.narrate(
        msg(
            "{name}: {download_bytes} to download of {total_bytes}; {free_bytes} are free",
            name=preview.name,
            download_bytes=byte_size(preview.download_bytes),
            total_bytes=byte_size(preview.total_bytes),
            free_bytes=byte_size(preview.free_bytes),
        )
    )
    if preview.download_bytes > preview.free_bytes:
        output.warn(msg("the disk has no room for it; LOCALQ_HOME can be a folder on a larger one"))


def _share(present: int, size: int) -> str:
    if present >= size:
        return "yes"
    return msg("{value} %", value=100 * present // size) if present else "no"


def _choose(library: Library) -> str | None:
    """Ask which of the models that fit this machine to take; None where there is no choice."""
    from localq.services.pull.choice_sizes import with_sizes
    from localq.services.pull.pull import choices, recipe_here

    if recipe_here() is not None:
        return None
    offered = choices(library)
    if not offered:
        return None
    default = next((i for i, choice in enumerate(offered, 1) if choice.recommended), 1)
    output.narrate(msg("models that fit this machine:"))
    for i, choice in enumerate(with_sizes(offered), 1):
        mark = "*" if i == default else " "
        size = byte_size(choice.download_bytes) if choice.download_bytes else ""
        output.narrate(f" {mark}{i:>2}  {choice.repo:<34} {size:>8}  {choice.why}")
    picked: int = click.prompt(
        msg("which one"), default=default, type=click.IntRange(1, len(offered)), err=True
    )
    return offered[picked - 1].repo
