"""Any exception of a job, as an error that can be shown."""

from __future__ import annotations

import time
import traceback
from pathlib import Path

from localq.errors import LocalqError
from localq.messages import msg
from localq.tui import strings

__all__ = ["presentable"]


def presentable(error: Exception, log: Path) -> LocalqError:
    """`error` itself if it was raised on purpose; else one that says what is in the file `log`.

    Called in the job's thread: it writes to the disk.
    """
    if isinstance(error, LocalqError):
        return error
    what = (
        msg("{kind}: {error}", kind=type(error).__name__, error=error)
        if str(error)
        else type(error).__name__
    )
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(time.strftime("%Y-%m-%d %H:%M:%S\n"))
            file.write("".join(traceback.format_exception(error)))
    except OSError as refused:
        hint = strings.UNEXPECTED_NOT_LOGGED.format(log, refused.strerror or refused)
    else:
        hint = strings.UNEXPECTED_HINT.format(log)
    return LocalqError(strings.UNEXPECTED.format(what), hint=hint)
