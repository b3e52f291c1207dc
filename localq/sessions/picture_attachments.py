"""Pictures that are sent along with a message, and kept with it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from pathlib import Path

from localq.errors import LocalqError
from localq.formats.picture import picture_size, read_picture
from localq.sessions.message import Attachment

__all__ = ["data_url", "from_data_url", "is_sound", "picture_files", "read_picture_attachment"]


def read_picture_attachment(path: Path) -> Attachment:
    """A picture file. Errors are those of `localq.formats.picture.read_picture`."""
    data = read_picture(path)
    kind = picture_size(data, path).kind
    return Attachment(
        path.name, base64.b64encode(data).decode("ascii"), media=f"image/{kind.lower()}"
    )


def picture_files(attachments: Iterable[Attachment]) -> list[bytes]:
    """What is in the pictures among them."""
    return [base64.b64decode(one.content) for one in attachments if one.media]


def data_url(attachment: Attachment) -> str:
    """A picture as a web page holds it."""
    return f"data:{attachment.media};base64,{attachment.content}"


def from_data_url(url: object, name: str) -> Attachment | None:
    """The picture that such a text holds; None where it holds none that can be kept."""
    head, comma, content = url.partition(",") if isinstance(url, str) else ("", "", "")
    kind, _, coding = head.removeprefix("data:").partition(";")
    if not comma or not head.startswith("data:") or coding != "base64":
        return None
    found = Attachment(name, content, media=kind.replace("image/jpg", "image/jpeg"))
    return found if is_sound(found) else None


def is_sound(attachment: Attachment) -> bool:
    """Whether it is the picture that it says it is; for what comes from elsewhere."""
    try:
        data = base64.b64decode(attachment.content, validate=True)
        kind = picture_size(data, attachment.name).kind
    except (LocalqError, binascii.Error, ValueError):
        return False
    return attachment.media == f"image/{kind.lower()}"
