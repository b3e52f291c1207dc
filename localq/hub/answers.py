"""Whether what a server sends is the file that was asked for, before a byte of it is believed."""

from __future__ import annotations

from collections.abc import Mapping

from localq.hub.source import Damaged, RemoteFile, TransferInterrupted
from localq.messages import msg

__all__ = ["claimed_start", "refuse_other_content", "whole_length"]

_PAGES = ("text/html", "application/xhtml+xml")
_PAGE_BEGINS = (b"<!doctype html", b"<html")
_POINTER_BEGINS = b"version https://git-lfs.github.com/spec/"
_LOG_IN = msg("log in to your network with a browser, then run the same command again")


def claimed_start(header: str, file: RemoteFile, offset: int, host: str) -> int:
    """Where a part begins, from its Content-Range such as "bytes 100-199/200": at `offset`.

    TransferInterrupted where it begins elsewhere, Damaged where the whole has another size than
    the file.
    """
    unit, _, rest = header.strip().partition(" ")
    span, _, total = rest.partition("/")
    first = span.partition("-")[0]
    if unit != "bytes" or not _is_number(first) or int(first) != offset:
        raise TransferInterrupted(msg("{host} sent another part than asked for", host=host))
    if _is_number(total) and int(total) != file.size:
        raise _wrong_length(file, int(total))
    return offset


def whole_length(headers: Mapping[str, str]) -> int | None:
    """How many bytes an answer with the whole file promises; None where that cannot be known."""
    length = headers.get("Content-Length", "")
    packed = headers.get("Content-Encoding", "").lower() not in ("", "identity")
    return int(length) if _is_number(length) and not packed else None


def refuse_other_content(
    file: RemoteFile, headers: Mapping[str, str], beginning: bytes, host: str
) -> None:
    """Refuse the answer of a server that sends something else in place of a whole file.

    TransferInterrupted for a web page, such as the login page of a hotel's network; Damaged for a
    Git LFS pointer and for another length. `beginning` are the first bytes that came.
    """
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    begins = beginning[:200].lstrip().lower()
    may_be_page = file.path.lower().endswith((".html", ".htm"))
    if not may_be_page and (kind in _PAGES or begins.startswith(_PAGE_BEGINS)):
        raise TransferInterrupted(
            msg(
                "{host} sent a web page in place of {path}, as networks do that want a login",
                host=host,
                path=file.path,
            ),
            hint=_LOG_IN,
        )
    if begins.startswith(_POINTER_BEGINS):
        raise Damaged(msg("a Git LFS pointer came in its place"))
    length = whole_length(headers)
    if length is not None and length != file.size:
        raise _wrong_length(file, length)


def _wrong_length(file: RemoteFile, length: int) -> Damaged:
    what = "shorter" if length < file.size else "longer"
    return Damaged(msg("it is {what} than the {size:,} bytes listed", what=what, size=file.size))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20
