"""`localq stop MODEL...`"""

from __future__ import annotations

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option
from localq.cli.ps import document
from localq.display import byte_size
from localq.errors import UsageError
from localq.messages import msg
from localq.paths import Paths

__all__ = ["command"]


@click.command()
@click.argument("models", metavar="MODEL...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All that are loaded.")
@click.option("--force", is_flag=True, help="Even while they are being used.")
@json_option
def command(models: tuple[str, ...], every: bool, force: bool, as_json: bool) -> None:
    """Unload models, whichever localq has them, and give their memory back.

    MODEL is a name that `localq ps` shows, a part of it, or a process number. A model that is being
    used stays, unless --force is given: its requests fail then. One that was set aside for its
    crashes may be loaded again.
    """
    from localq.services.hosting.stop import stop_models

    if bool(models) == every:
        raise UsageError(
            msg("name the models to unload, or say --all"), hint=msg("localq ps lists them")
        )
    with cancel_on_interrupt() as cancel:
        result = stop_models(
            Paths.from_environment(), models, every=every, force=force, cancel=cancel
        )
    if as_json:
        output.json_document([document(worker) for worker in result.stopped])
        return
    if not result.stopped:
        output.narrate(msg("no model is loaded"))
    for worker in result.stopped:
        if worker.state == "set aside":
            output.line(msg("{model} may be loaded again", model=worker.model))
        else:
            output.line(
                msg(
                    "unloaded {model}, {size} ({owner}, process {pid})",
                    model=worker.model,
                    size=byte_size(worker.total),
                    owner=worker.owner,
                    pid=worker.owner_pid,
                )
            )
