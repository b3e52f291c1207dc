"""`localq backend install|list|remove|doctor`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from localq.cli import output
from localq.cli.consent import consent_by
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option
from localq.cli.progress import ProgressDisplay
from localq.display import byte_size, printable
from localq.errors import LocalqError
from localq.library import Library
from localq.messages import msg
from localq.paths import Paths

if TYPE_CHECKING:
    from localq.services.backends.report import BackendReport

__all__ = ["command"]

_STATES = {
    "installed": msg("installed"),
    "outdated": msg("outdated: install it again"),
    "broken": msg("broken: install it again"),
    "installing": msg("being installed"),
    "not installed": msg("not installed"),
}
_MARKS = {"ok": "+", "warning": "!", "missing": "-"}


@click.group()
def command() -> None:
    """The libraries that make AWQ and GPTQ checkpoints: each in an environment of its own, which
    neither localq nor any other program sees."""


@command.command(short_help="Install a backend: gptqmodel, autoawq, auto-gptq, llmcompressor.")
@click.argument("name")
@click.option(
    "--device",
    "accelerator",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="What its torch is for; auto: CUDA where there is a GPU that can.",
)
@click.option(
    "--python",
    type=click.Path(path_type=Path),
    help="The Python to make its environment with; without it, the one localq runs in.",
)
@click.option("--force", is_flag=True, help="Install it anew, even if it is there.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
def install(
    name: str,
    accelerator: Literal["auto", "cpu", "cuda"],
    python: Path | None,
    force: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Install the backend NAME with exactly the packages that were tried, checked by their hashes.

    Says how much it downloads and asks before it begins. Interrupted or failed, it leaves nothing
    behind, and an older installation as it was. pip's and uv's own settings (index, mirror) hold.
    """
    from localq.services.backends.install import BackendInstallRequest
    from localq.services.jobs.jobs import recorded
    from localq.services.jobs.kinds.backend_install import BackendInstallKind

    request = BackendInstallRequest(name, accelerator, python, force)
    with Library() as library, cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
        result = recorded(
            BackendInstallKind(),
            library,
            request,
            emit,
            cancel,
            consent_by(yes=yes),
            agreed=yes,
        )
    if as_json:
        output.json_document(result)
        return
    output.narrate(
        msg(
            "{name} {version} is installed and takes {size}",
            name=result.name,
            version=result.version,
            size=byte_size(result.size_bytes),
        )
    )
    output.line(str(result.folder))


@command.command(name="list", short_help="List backends, and which are installed.")
@json_option
def list_command(as_json: bool) -> None:
    """List the backends, whether each is installed, with which torch, and what it takes."""
    from localq.services.backends.listing import list_backends

    found = list_backends(Paths.from_environment())
    if as_json:
        output.json_document(found)
        return
    output.table(
        (msg("NAME"), msg("VERSION"), msg("STATE"), msg("TORCH"), msg("SIZE")),
        (
            (
                one.name,
                one.version,
                _STATES[one.state],
                (one.packages or {}).get("torch", ""),
                byte_size(one.size_bytes) if one.size_bytes else "",
            )
            for one in found
        ),
    )


@command.command(short_help="Delete a backend.")
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
def remove(name: str, yes: bool, as_json: bool) -> None:
    """Delete the environment of the backend NAME. What it made stays."""
    from localq.services.backends.listing import remove_backend

    freed = remove_backend(Paths.from_environment(), name, consent_by(yes=yes))
    if as_json:
        output.json_document({"name": name, "freed_bytes": freed})
    else:
        output.narrate(msg("{name} is removed; {freed} freed", name=name, freed=byte_size(freed)))


@command.command(short_help="Whether AWQ and GPTQ can be made here, and what is missing.")
@json_option
def doctor(as_json: bool) -> None:
    """Check driver, CUDA, GPUs, compilers, and every installed backend with its libraries; each
    with the command that mends it. Exit code 1 if something installed does not work."""
    from localq.services.backends.report import backend_report

    with cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
        report = backend_report(Paths.from_environment(), emit, cancel)
    if as_json:
        output.json_document(report)
    else:
        _show(report)
    if not report.healthy:
        raise LocalqError(msg("a backend that is installed does not work"))


def _show(report: BackendReport) -> None:
    for check in report.checks:
        mark = _MARKS[check.state]
        output.line(f"{mark} {output.padded(printable(check.what), 16)} {printable(check.found)}")
        if check.remedy:
            output.line(f"    {printable(check.remedy)}")
    output.line("")
    if not report.int4:
        output.line(msg("INT4: no GPU; small models can be quantized with --device cpu"))
    for gpu in report.int4:
        output.line(msg("INT4 on {name}: {verdict}", name=gpu.name, verdict=gpu.reason))
