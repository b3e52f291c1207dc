"""What the app asks the services for: an object for each part, made over one library.

Each method imports its service when it is called, so that the app is on the screen before that;
each blocks, runs in a thread of its own (`localq.tui.calls`), and may raise LocalqError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from localq.tui.services.chat import ChatServices
from localq.tui.services.hub import HubServices
from localq.tui.services.jobs import JobServices
from localq.tui.services.library import LibraryServices
from localq.tui.services.machine import MachineServices

if TYPE_CHECKING:
    from localq.library import Library
    from localq.paths import Paths

__all__ = ["Services", "services_of"]


@dataclass(frozen=True, slots=True)
class Services:
    paths: Paths
    library: LibraryServices
    jobs: JobServices
    hub: HubServices
    machine: MachineServices
    chat: ChatServices


def services_of(library: Library) -> Services:
    """The services of `library`, which any thread may use."""
    return Services(
        library.paths,
        LibraryServices(library),
        JobServices(library),
        HubServices(library),
        MachineServices(library),
        ChatServices(library),
    )
