"""Which names may become a file or a folder, on any of the systems localq runs on.

A library made on Linux may be copied to Windows or macOS, so one rule holds everywhere. Windows'
part of it: learn.microsoft.com/windows/win32/fileio/naming-a-file.
"""

from __future__ import annotations

import unicodedata

from localq.errors import UsageError
from localq.messages import msg

__all__ = ["MAX_BYTES", "component_problem", "safe_component"]

MAX_BYTES = 255
"""The longest name ext4, APFS and NTFS all take, counted in UTF-8."""

_RESERVED = frozenset('<>:"/\\|?*')
_DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
    + [port + digit for port in ("COM", "LPT") for digit in "0123456789¹²³"]
)
# Control, invisible (they can reverse what a terminal shows), lone surrogates, line separators.
_UNPRINTABLE = frozenset(["Cc", "Cf", "Cs", "Zl", "Zp"])


def component_problem(text: str) -> str | None:
    """Why `text` cannot be one component of a path, as the end of a sentence; None: it can."""
    if not text:
        return msg("it is empty")
    if text in (".", ".."):
        return msg("it points to another folder")
    if any(unicodedata.category(character) in _UNPRINTABLE for character in text):
        return msg("it holds a control character")
    if bad := _RESERVED.intersection(text):
        return msg("it holds {bad!r}", bad=min(bad))
    if text[0] == " " or text[-1] in " .":
        return msg("it begins or ends with a space, or ends with a dot")
    # Windows opens the device for "nul", "NUL.gguf" and "nul .txt" alike, in every folder.
    if text.partition(".")[0].rstrip(" ").upper() in _DEVICES:
        return msg("Windows keeps that name for a device")
    if len(text.encode()) > MAX_BYTES:
        return msg("it is longer than {max_bytes} bytes", max_bytes=MAX_BYTES)
    if not unicodedata.is_normalized("NFC", text):
        return msg("it is spelled with separate accents (not Unicode NFC)")
    return None


def safe_component(text: str) -> str:
    """`text` itself if it can be one component of a path; UsageError says why it cannot."""
    if problem := component_problem(text):
        raise UsageError(
            msg("{text!r} cannot name a file: {problem}", text=text[:60], problem=problem)
        )
    return text
