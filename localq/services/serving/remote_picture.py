"""Pictures that a request only names, for who has allowed that they are fetched."""

from __future__ import annotations

import urllib.error
import urllib.request
from http.client import HTTPException
from urllib.parse import urlsplit

from localq.errors import HubError, UsageError
from localq.formats.picture import MAX_PICTURE
from localq.messages import msg

__all__ = ["fetch_picture"]

_SECONDS = 20.0


def fetch_picture(url: str) -> bytes:
    """What is at an http: or https: address. UsageError for another one; HubError: it cannot be
    had, or is larger than a picture may be."""
    if urlsplit(url).scheme.casefold() not in ("http", "https"):
        raise UsageError(msg("{url}: no http address", url=url[:200]))
    # Not the usual opener, which would read files and ftp too, where a redirect leads there.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    try:
        with opener.open(url, timeout=_SECONDS) as answer:
            data: bytes = answer.read(MAX_PICTURE + 1)
    except (OSError, HTTPException, ValueError, urllib.error.URLError) as error:
        raise HubError(
            msg("{url}: cannot be fetched: {error}", url=url[:200], error=str(error)[:200])
        ) from error
    if len(data) > MAX_PICTURE:
        raise HubError(msg("{url}: more than {most} MB", url=url[:200], most=MAX_PICTURE // 10**6))
    return data
