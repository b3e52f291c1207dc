"""Why work is to stop: because someone wants it to, or because the machine goes down."""

from __future__ import annotations

import threading

__all__ = ["CancelEvent"]


class CancelEvent(threading.Event):
    """A cancel event; `by_system` once the system, not a person, ended the process."""

    by_system = False
