"""What the Hub's refusals mean to the user."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from localq.display import printable
from localq.errors import HubError, LocalqError, NotFoundError
from localq.hub.source import TransferInterrupted
from localq.messages import msg

__all__ = ["Asked", "refusal", "retry_after"]

_TRANSIENT = frozenset([408, 425, 429, 500, 502, 503, 504])
_USED_UP = re.compile(r";\s*r=0\s*;\s*t=([0-9]{1,9})\b")
_LOGIN = msg("hf auth login, or set HF_TOKEN to a token from huggingface.co/settings/tokens")


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, to say so when it is refused. No `repo`: a search."""

    host: str
    repo: str
    revision: str | None = None
    path: str | None = None
    has_token: bool = False


def refusal(
    status: int, headers: Mapping[str, str], asked: Asked, *, led_to: str | None = None
) -> LocalqError:
    """The error for an answer that is none; `headers` finds names in any capitals.

    `led_to` is another host that the one asked sent us to, where it was that which refused.
    """
    code = headers.get("X-Error-Code", "")
    reason = headers.get("X-Error-Message", "")
    if status == HTTPStatus.NETWORK_AUTHENTICATION_REQUIRED:
        return TransferInterrupted(
            msg(
                "{host} cannot be reached: your network wants you to log in first", host=asked.host
            ),
            hint=msg("log in with a browser, then run the same command again"),
        )
    if led_to is not None and asked.path is not None and not (code or reason):
        return _stored_elsewhere(status, headers, asked, led_to)
    if status in _TRANSIENT:
        return TransferInterrupted(
            msg("{host} answers {status}", host=asked.host, status=_phrase(status)),
            retry_after=retry_after(headers),
        )
    if code == "GatedRepo":
        return _gated(asked)
    if code == "RevisionNotFound" and asked.path is not None:
        return NotFoundError(
            msg(
                "{repo} has moved on: its commit {revision} is gone",
                repo=asked.repo,
                revision=str(asked.revision)[:12],
            ),
            hint=msg("run the same command again: it asks for the latest files"),
        )
    if code == "RevisionNotFound":
        return NotFoundError(
            msg("{repo} has no revision {revision!r}", repo=asked.repo, revision=asked.revision),
            hint=msg(
                "without a revision its main branch is taken: localq pull {repo}", repo=asked.repo
            ),
        )
    if code == "EntryNotFound" or (status == 404 and asked.path is not None):
        return NotFoundError(
            msg("{repo} no longer has the file {path!r}", repo=asked.repo, path=asked.path),
            hint=msg("run the same command again: it asks for the latest files"),
        )
    if reason == "Invalid credentials in Authorization header":
        return HubError(
            msg("{host} does not accept your token", host=asked.host),
            hint=msg("{login}; or unset HF_TOKEN to go without", login=_LOGIN),
        )
    if (
        status in (401, 404) and asked.repo
    ):  # the Hub hides from strangers whether a private model exists
        return NotFoundError(
            msg("no model {repo!r} on {host}", repo=asked.repo, host=asked.host)
            + ("" if asked.has_token else msg(", or a private one")),
            hint=msg(
                "localq search {repo}; for a private model: {login}",
                repo=asked.repo.partition("/")[2],
                login=_LOGIN,
            ),
        )
    if status == 403:
        return HubError(
            msg(
                "{host} forbids {repo}: {reason}",
                host=asked.host,
                repo=asked.repo,
                reason=_line(reason) or _phrase(status),
            ),
            hint=msg("check that your token may read this model"),
        )
    return HubError(
        (msg("{repo}: ", repo=asked.repo) if asked.repo else "")
        + msg("{host} answers {status}", host=asked.host, status=_phrase(status))
        + (msg(": {reason}", reason=_line(reason)) if reason else "")
    )


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """The seconds to wait that the server asks for: in Retry-After as seconds or as a date, or in
    the Hub's own header about a used-up rate limit, such as `"api";r=0;t=55`."""
    value = headers.get("Retry-After", "").strip()
    if not value and (match := _USED_UP.search(headers.get("RateLimit", ""))):
        return float(match[1])
    if value.isdecimal() and value.isascii():
        return float(value[:9])
    try:
        moment = parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0.0, moment - (time.time() if now is None else now))


def _stored_elsewhere(
    status: int, headers: Mapping[str, str], asked: Asked, led_to: str
) -> TransferInterrupted:
    """A signed link is good for a while only, and says nothing about the user's token: the file
    is asked for anew, which brings a new link."""
    return TransferInterrupted(
        msg(
            "{led_to} answers {status} to the link that {host} gave for {path}",
            led_to=led_to,
            status=_phrase(status),
            host=asked.host,
            path=asked.path,
        ),
        hint=msg(
            "run the same command again; if it stays so, something keeps you from {led_to}",
            led_to=led_to,
        ),
        retry_after=retry_after(headers),
    )


def _gated(asked: Asked) -> HubError:
    page = f"{asked.host}/{asked.repo}"
    if asked.has_token:
        hint = msg(
            "accept its terms at {page} with the account of your token, then try again", page=page
        )
    else:
        hint = msg("accept its terms at {page}, then: {login}", page=page, login=_LOGIN)
    return HubError(
        msg("{repo} is gated: its owners say who may download it", repo=asked.repo), hint=hint
    )


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _line(text: str) -> str:
    return printable(text[:200]).strip()
