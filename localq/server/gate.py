"""Who may ask a model now, and who waits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from localq.messages import msg
from localq.server.failure import RequestError
from localq.server.settings import Limits

__all__ = ["Gates"]

_RETRY_SECONDS = 2


@dataclass(slots=True)
class _Gate:
    running: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class Gates:
    """One for each model: so many requests at the same time, so many that wait, first come first
    served. For the event loop's thread alone."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._gates: dict[str, _Gate] = {}

    @property
    def running(self) -> int:
        return sum(gate.running for gate in self._gates.values())

    @property
    def waiting(self) -> int:
        return sum(len(gate.waiting) for gate in self._gates.values())

    @asynccontextmanager
    async def enter(self, name: str) -> AsyncIterator[None]:
        """The block has a place. RequestError 429 where too many wait."""
        gate = self._gates.setdefault(name, _Gate())
        if gate.running >= self._limits.parallel or gate.waiting:
            await self._wait(gate)
        else:
            gate.running += 1
        try:
            yield
        finally:
            gate.running -= 1
            _next(gate)
            if not gate.running and not gate.waiting:
                self._gates.pop(name, None)

    async def _wait(self, gate: _Gate) -> None:
        if len(gate.waiting) >= self._limits.queue:
            seconds = str(_RETRY_SECONDS)
            raise RequestError(
                msg("{count} requests are waiting for this model", count=len(gate.waiting)),
                status=429,
                code="queue_full",
                headers={"Retry-After": seconds},
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        gate.waiting.append(turn)
        try:
            await turn  # whoever lets it in counts it as running
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # let in at the same moment
                gate.running -= 1
                _next(gate)
            else:
                with suppress(ValueError):  # passed over already
                    gate.waiting.remove(turn)
            raise


def _next(gate: _Gate) -> None:
    """Let in whoever came first of those that still wait."""
    while gate.waiting:
        turn = gate.waiting.popleft()
        if not turn.done():
            gate.running += 1
            turn.set_result(None)
            return
