"""Pictures in requests."""

from __future__ import annotations

import base64
import binascii

from localq.errors import LocalqError
from localq.formats.picture import MAX_PICTURE, picture_size
from localq.messages import msg
from localq.server.failure import RequestError
from localq.server.fields import Fields
from localq.services.serving.remote_picture import fetch_picture

__all__ = ["MAX_PICTURES", "read_base64", "read_picture_url"]

MAX_PICTURES = 64
"""Of one message."""
_LONGEST = MAX_PICTURE * 4 // 3 + 4


def read_picture_url(fields: Fields, name: str, *, remote: bool) -> bytes:
    """The picture of a data: URL; of any other only where `remote` pictures are fetched.
    RequestError."""
    fields.require(name)
    url = fields.text(name) or ""
    if url[:5].casefold() == "data:":
        head, comma, data = url.partition(",")
        if not comma or not head.casefold().endswith(";base64"):
            fields.refuse(name, "data:image/...;base64,...")
        return _decoded(data, fields.path(name))
    path = fields.path(name)
    if not remote:
        raise RequestError(
            msg("{path}: pictures elsewhere are not fetched; send a data: URL", path=path),
            param=path,
            code="unsupported_content",
        )
    try:
        fetched = fetch_picture(url)
        picture_size(fetched, path)
    except LocalqError as error:
        raise _refused(error, path) from None
    return fetched


def read_base64(fields: Fields, name: str) -> bytes:
    """The picture that a field holds. RequestError."""
    fields.require(name)
    return _decoded(fields.text(name) or "", fields.path(name))


def _decoded(text: str, path: str) -> bytes:
    if len(text) > _LONGEST:
        raise RequestError(
            msg("{path}: a picture of more than {most} MB", path=path, most=MAX_PICTURE // 10**6),
            param=path,
        )
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(msg("{path} must be base64", path=path), param=path) from None
    try:
        picture_size(data, path)
    except LocalqError as error:
        raise _refused(error, path) from None
    return data


def _refused(error: LocalqError, path: str) -> RequestError:
    return RequestError(error.message, param=path, code="unsupported_content")
