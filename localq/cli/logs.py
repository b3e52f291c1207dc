"""`localq logs`"""

from __future__ import annotations

import click

from localq.cli import output
from localq.messages import msg
from localq.paths import Paths

__all__ = ["command"]

_MOST_BYTES = 1 << 20


@click.command()
@click.option("-n", "--lines", type=click.IntRange(1), default=100, help="How many, from the end.")
@click.option("--path", "only_path", is_flag=True, help="Print where the log is.")
def command(lines: int, only_path: bool) -> None:
    """Show what the terminal app wrote down of errors it did not expect.

    What a job said is shown by localq jobs log.
    """
    log = Paths.from_environment().log / "tui.log"
    if only_path:
        output.line(str(log))
        return
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _MOST_BYTES))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        output.narrate(msg("nothing was logged: {log} is not there", log=log))
        return
    for line in text.splitlines()[-lines:]:
        output.line(line)
