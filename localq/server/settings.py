"""How a server listens, and what it takes from its clients."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

__all__ = ["Limits", "ServerSettings", "is_loopback"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes and seconds."""

    parallel: int = 4
    """Requests that one model answers at the same time."""
    queue: int = 64
    """Requests that wait for one model; further ones are refused."""
    body_bytes: int = 16 << 20
    body_seconds: float = 60.0
    """For all of a body to arrive."""
    header_seconds: float = 15.0
    """For a request's first line and headers to arrive."""
    request_seconds: float = 3600.0
    """For a request, its wait in the queue included."""
    send_seconds: float = 60.0
    """For a client to take what it is sent."""
    keep_alive_seconds: float = 5.0
    """Between two signs of life while a client waits."""
    drain_seconds: float = 30.0
    """For running requests, once the server is told to stop."""
    connections: int = 1024


@dataclass(frozen=True, slots=True)
class ServerSettings:
    host: str = "127.0.0.1"
    port: int = 11435
    """0: any that is free."""
    api_key: str | None = None
    allow_hosts: tuple[str, ...] = ()
    """Further names that this server may be called by."""
    allow_origins: tuple[str, ...] = ()
    """Further web pages that may use it, as "https://name"."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    log_prompts: bool = False
    remote_images: bool = False
    """Whether pictures that a request only names are fetched: any client can then make this machine
    ask any address."""
    limits: Limits = Limits()


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach what listens there."""
    if host.casefold() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
