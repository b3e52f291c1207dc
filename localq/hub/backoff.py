"""How often to try again, and how long to wait before."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from localq.errors import Cancelled, HubError, OfflineError
from localq.events import Emit, Note
from localq.hub.source import TransferInterrupted
from localq.messages import msg

__all__ = ["Backoff", "RetryPolicy", "stop_if"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """After a failure, wait `first_delay` seconds, then twice as long each time up to
    `longest_delay`; give up after `retries` failures in a row, or at once where the server asks
    for more than `longest_wait` seconds."""

    retries: int = 5
    first_delay: float = 1.0
    longest_delay: float = 30.0
    longest_wait: float = 300.0


@dataclass(slots=True)
class Backoff:
    """The failures in a row of one piece of work."""

    policy: RetryPolicy
    cancel: threading.Event
    emit: Emit
    failures: int = field(default=0, init=False)

    def progressed(self) -> None:
        """The work got somewhere: earlier failures no longer count."""
        self.failures = 0

    def wait(self, error: TransferInterrupted | OfflineError) -> None:
        """Wait before the next try; raises `error` when it is time to give up, or Cancelled."""
        self.failures += 1
        if self.failures > self.policy.retries:
            if self.failures > 1:
                error.message = f"{error.message}; tried {self.failures} times"
                error.args = (error.message,)
            raise error
        asked = error.retry_after if isinstance(error, TransferInterrupted) else None
        if asked is None:
            doubled = self.policy.first_delay * 2.0 ** (self.failures - 1)
            delay = min(doubled, self.policy.longest_delay)
        elif asked <= self.policy.longest_wait:
            delay = asked
        else:
            raise HubError(
                msg(
                    "{message}; the server asks to wait {asked:,.0f} seconds",
                    message=error.message,
                    asked=asked,
                ),
                hint=msg("run the same command again then"),
            ) from error
        if delay >= 1:
            self.emit(
                Note(
                    msg(
                        "{message}; trying again in {delay:.0f} s",
                        message=error.message,
                        delay=delay,
                    ),
                    warning=True,
                )
            )
        if self.cancel.wait(delay):
            raise Cancelled("stopped")


def stop_if(cancel: threading.Event) -> None:
    if cancel.is_set():
        raise Cancelled(msg("stopped; run the same command again to continue the download"))
