"""The variables that users of Hugging Face's own tools know, read when they are needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from localq.errors import OfflineError, UsageError
from localq.messages import msg

__all__ = [
    "endpoint",
    "proxy_variables",
    "refuse_offline",
    "token_file",
    "token_path",
    "token_variable",
]

_DEFAULT_ENDPOINT = "https://huggingface.co"
_TRUE = frozenset(["1", "ON", "YES", "TRUE"])


def endpoint(environ: Mapping[str, str] = os.environ) -> str:
    """The Hub's address without a slash at its end: HF_ENDPOINT, or huggingface.co."""
    address = environ.get("HF_ENDPOINT", "").strip().rstrip("/") or _DEFAULT_ENDPOINT
    try:
        parts = urlsplit(address)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not address.isprintable() or " " in address:
        raise UsageError(
            msg("HF_ENDPOINT is not a web address: {address!r}", address=address[:120]),
            hint=msg("write it as https://..., or unset it"),
        )
    return address


def refuse_offline(environ: Mapping[str, str] = os.environ) -> None:
    """OfflineError if the user wants no network: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if environ.get(name, "").strip().upper() in _TRUE:
            raise OfflineError(
                msg("{name} is set: localq asks the Hub for nothing", name=name),
                hint=msg("unset {name}, or use what is there: localq list", name=name),
            )


def proxy_variables(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The variables in which the user names proxies for the web."""
    names = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")
    spellings = (spelling for name in names for spelling in (name, name.lower()))
    return tuple(name for name in spellings if environ.get(name, "").strip())


def token_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where `hf auth login` keeps the token: HF_TOKEN_PATH, or "token" in HF_HOME."""
    if path := environ.get("HF_TOKEN_PATH"):
        return Path(os.path.expandvars(path)).expanduser()
    if home := environ.get("HF_HOME"):
        return Path(os.path.expandvars(home)).expanduser() / "token"
    cache = environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "huggingface" / "token"


def token_variable(environ: Mapping[str, str] = os.environ) -> str | None:
    """The user's token from HF_TOKEN; UsageError, which does not show it, if it cannot be one."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if found := environ.get(name, "").strip():
            return _checked(found, name)
    return None


def token_file(environ: Mapping[str, str] = os.environ) -> str | None:
    """The token that `hf auth login` stored, unless the user forbids to send it unasked."""
    if environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").strip().upper() in _TRUE:
        return None
    path = token_path(environ)
    try:
        found = path.read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            msg("{path}: the token cannot be read: {kind}", path=path, kind=type(error).__name__)
        ) from None
    return _checked(found, str(path)) if found else None


def _checked(found: str, where: str) -> str:
    if not (found.isascii() and found.isprintable()) or " " in found:
        raise UsageError(
            msg("{where} does not hold a token: it has characters that no token has", where=where)
        )
    return found
