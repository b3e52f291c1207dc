"""What can go wrong between a Hub and its client, to be put in `HubServer.faults`.

A fault waits for the requests it is about, spoils as many of them as it says, and is used up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Cut", "Fault", "FlipByte", "Move", "Refuse", "Resize", "Silent", "Slow"]


@dataclass(slots=True)
class Fault:
    """Happens to the next `times` requests whose path ends with `suffix`."""

    suffix: str = ""
    times: int = 1

    def meets(self, path: str) -> bool:
        """Whether it happens to this request; counts it if so."""
        if self.times == 0 or not path.endswith(self.suffix):
            return False
        self.times -= 1
        return True


@dataclass(slots=True)
class Refuse(Fault):
    """Answer with an error, or with something else altogether, instead."""

    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b'{"error": "refused"}'


@dataclass(slots=True)
class Cut(Fault):
    """Close the connection after so many bytes of the body."""

    after: int = 0


@dataclass(slots=True)
class FlipByte(Fault):
    """Change one byte of the file."""

    at: int = 0


@dataclass(slots=True)
class Resize(Fault):
    """Serve a file of another length than listed: cut short, or with zeros at its end."""

    size: int = 0


@dataclass(slots=True)
class Slow(Fault):
    """Send the body at this speed."""

    bytes_per_second: float = 1e6


@dataclass(slots=True)
class Silent(Fault):
    """Take the request and never answer, until the server stops."""


@dataclass(slots=True)
class Move(Fault):
    """Answer from what was there, and let the branches point to what is in `folder` from then on.

    With `forget` the commit from before is gone, as after a forced push; otherwise whoever knows
    its number still gets its files.
    """

    folder: Path = Path()
    forget: bool = False
