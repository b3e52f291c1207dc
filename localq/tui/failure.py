"""Any exception of a service call, as an error that can be shown."""

from __future__ import annotations

import time
import traceback
from pathlib import Path

from localq.errors import LocalqError
from localq.messages import msg

__all__ = ["logged", "presentable"]


def presentable(error: Exception, log: Path) -> LocalqError:
    """`error` itself if it was raised on purpose; else one that says what is in the file `log`.

    Called in the call's thread: it writes to the disk.
    """
    if isinstance(error, LocalqError):
        return error
    what = (
        msg("{kind}: {error}", kind=type(error).__name__, error=error)
        if str(error)
        else type(error).__name__
    )
    refused = logged(error, log)
    hint = (
        msg("the details are in {log} (localq logs)", log=log)
        if refused is None
        else msg("the details could not be written to {log}: {refused}", log=log, refused=refused)
    )
    return LocalqError(msg("something unexpected went wrong: {what}", what=what), hint=hint)


def logged(error: BaseException, log: Path) -> str | None:
    """Write the error and where it came from to the file; why that could not be done, or None."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(time.strftime("%Y-%m-%d %H:%M:%S\n"))
            file.write("".join(traceback.format_exception(error)))
    except OSError as refused:
        return refused.strerror or str(refused)
    return None
