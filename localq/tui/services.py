"""What the app can ask for: the services, as callables that a test may replace."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from localq.events import Emit
from localq.formats.types import QuantType

if TYPE_CHECKING:
    from localq.engine.client import Generation, LoadedModel
    from localq.library import Model
    from localq.library.model import Removed
    from localq.services.library.inspect import ModelDetails
    from localq.services.make.quantize import QuantizeResult
    from localq.services.pull.pull import Choice, PullResult

__all__ = ["Chat", "Services"]


class Chat(Protocol):
    """What the chat screen needs of a conversation."""

    @property
    def loaded(self) -> LoadedModel: ...

    def reply(
        self, text: str, *, cancel: threading.Event, on_text: Callable[[str], None]
    ) -> Generation: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Services:
    """Every callable blocks and runs in a thread of its own; each may raise LocalqError."""

    log: Path
    """The file that unexpected errors are written to."""
    models: Callable[[], Sequence[Model]]
    show: Callable[[str], ModelDetails]
    """Details of the model with this name."""
    remove: Callable[[str], Removed]
    choices: Callable[[], Sequence[Choice]]
    """Models worth pulling on this machine, the recommended one first."""
    pull: Callable[[str | None, Emit, threading.Event], PullResult]
    """Of OWNER/NAME[@REVISION][:QUANT], "demo", or None for whatever is recommended."""
    sizes: Callable[[str], Mapping[QuantType, int]]
    """Bytes of the files that can be made of the model with this name, exactly."""
    quantize: Callable[[str, QuantType, bool, Emit, threading.Event], QuantizeResult]
    """Of a model's name, the type to make, and whether to replace a file that is there."""
    open_chat: Callable[[str, Emit, threading.Event], Chat]
    """Loads the model with this name."""
