"""From the command to the app on the terminal, as fast as Textual itself can be there.

The models are read while Textual is imported, which takes longer than anything else.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from localq.tui.services import services_of
from localq.tui.watch import HomeWatch

if TYPE_CHECKING:
    from localq.library import Library

__all__ = ["run"]

_KILLED = 128
"""What shells add to the number of a signal that ended a program."""
_PATIENCE = 5.0
"""Seconds that calls get to stop after the app has quit."""


def run(library: Library | None = None) -> int:
    """Run the app on the terminal until the user quits, or the system ends it; the exit code."""
    from localq.library import Library

    gc.disable()  # a start makes a lot and drops nothing
    services = services_of(library or Library())
    watch = HomeWatch(services.paths, services.library.revision)
    services.library.read_ahead()
    from localq.tui.app import LocalqApp

    app = LocalqApp(services, watch=watch, settled=_collect_again)
    try:
        app.run()
    finally:
        app.end(_PATIENCE)
    if app.ended_by is not None:
        return _KILLED + app.ended_by
    return app.return_code or 0


def _collect_again() -> None:
    gc.freeze()  # what is there by now stays to the end
    gc.enable()
