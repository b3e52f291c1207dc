"""What every screen is given."""

from __future__ import annotations

from dataclasses import dataclass

from localq.tui.calls import Calls
from localq.tui.clock import Clock
from localq.tui.services import Services

__all__ = ["AppContext"]


@dataclass(frozen=True, slots=True)
class AppContext:
    services: Services
    calls: Calls
    clock: Clock
