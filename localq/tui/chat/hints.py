"""What to press next, in place of what one would type on a command line."""

from __future__ import annotations

from localq.errors import LocalqError, NotFoundError
from localq.messages import msg
from localq.services.chat.fitting import ContextFull
from localq.sessions import SessionBusy

__all__ = ["hint_for"]

_HINTS = (
    (ContextFull, msg("^g: leave out what is old, or have it summarised")),
    (SessionBusy, msg("wait until it is done, or begin another session: ^n")),
    (NotFoundError, msg("^l lists the sessions; esc goes to the models")),
)
_INSTEAD = msg("^g: leave out what is old instead")


def hint_for(error: LocalqError) -> str | None:
    """The hint to show with an error in a chat. One of the services' that names the command line
    is of no use here: where no key does the same, none is better."""
    for kind, hint in _HINTS:
        if isinstance(error, kind):
            return hint
    if error.hint is None or "localq " in error.hint:
        return None
    if "--on-full" in error.hint:
        return _INSTEAD
    return None if " --" in error.hint else error.hint
