"""What goes wrong with a request, and the HTTP status that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from localq.errors import (
    Cancelled,
    EngineClosed,
    EngineCrashed,
    EngineError,
    LibraryError,
    LocalqError,
    NotFoundError,
    UnsupportedError,
    UsageError,
)
from localq.messages import msg
from localq.services.serving.generating import ContextExceeded

__all__ = ["ClientGone", "Failure", "RequestError", "failure_of"]


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


class RequestError(LocalqError):
    """A request that is refused, with the status, the field that is wrong, and a word for it."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Failure:
    """What a protocol makes its own form of an error from."""

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def failure_of(error: BaseException) -> Failure:
    """Unexpected errors say nothing of what is inside."""
    if isinstance(error, RequestError):
        return Failure(error.status, error.message, error.code, error.param, error.headers)
    if not isinstance(error, LocalqError):
        return Failure(500, msg("the server has a fault: see its log"), "internal_error")
    text = f"{error.message} ({error.hint})" if error.hint else error.message
    match error:
        case ContextExceeded():
            return Failure(400, text, "context_length_exceeded", "messages")
        case NotFoundError():
            return Failure(404, text, "model_not_found", "model")
        case LibraryError():
            return Failure(400, text, "model_not_found", "model")
        case UsageError() | UnsupportedError():
            return Failure(400, text)
        case EngineCrashed():
            return Failure(500, error.message, "engine_crashed")
        case EngineClosed() | Cancelled():
            return Failure(503, text, "unloaded", headers={"Retry-After": "1"})
        case EngineError():
            return Failure(503, text, "unavailable", headers={"Retry-After": "10"})
    return Failure(500, error.message)
