"""What pip and uv print when they fail, as one line that says what is wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from localq.errors import LocalqError, OfflineError, StorageError, UnsupportedError
from localq.messages import msg

__all__ = ["HashMismatch", "failure"]

_FULL = re.compile(r"No space left on device|os error 28\b|Disk quota exceeded|Errno (28|122)\b")
_HASH = re.compile(r"DO NOT MATCH THE HASHES|[Hh]ash mismatch")
_OF_HASH = re.compile(r"(?:^\s+|[Hh]ash mismatch for `?)([A-Za-z0-9._-]+)(?:==| @|\s+from)", re.M)
_NETWORK = re.compile(
    r"NewConnectionError|Failed to establish a new connection|name resolution|NameResolutionError"
    r"|ConnectTimeout|ReadTimeout|Read timed out|Max retries exceeded|Connection(?:Reset| reset)"
    r"|dns error|tcp connect error|error sending request|Network is unreachable"
    r"|Network connectivity is disabled|ProtocolError|IncompleteRead|Could not connect"
)
_NONE = re.compile(
    r"No matching distribution found for ([^\s(]+)|no version(?:s)? of ([A-Za-z0-9._=-]+)"
    r"|([A-Za-z0-9._-]+) was not found in the package registry"
)
_PYTHON = re.compile(r"requires a different Python|Requires-Python|not supported by this Python")
_COMPILER = re.compile(
    r"(?:gcc|g\+\+|cc|clang|cl)\S*['\"]? (?:failed: )?(?:No such file|not found)"
    r"|Unable to find a (?:suitable )?compiler|Microsoft Visual C\+\+ .* is required"
    r"|command '\S*(?:gcc|g\+\+|cc|clang)\S*' failed|Python\.h: No such file"
)
_ENSUREPIP = re.compile(r"ensurepip is not available|No module named '?(?:ensurepip|venv)")


class HashMismatch(LocalqError):
    """A package is not the one that was pinned."""


def failure(lines: Sequence[str], name: str, log: Path) -> LocalqError:
    """The error for an installation of `name` that printed `lines` and failed."""
    text = "\n".join(lines)
    where = msg("its log is {log}", log=log)
    if _FULL.search(text):
        return StorageError(
            msg("{name}: the disk is full", name=name),
            hint=msg("free some space (localq trash empty), then run the same command again"),
        )
    if found := _HASH.search(text):
        package = _OF_HASH.search(text, found.start())
        return HashMismatch(
            msg(
                "{package}: the file is not the one that localq pinned (its hash differs)",
                package=package[1] if package else name,
            ),
            hint=msg("do not use it; try another network or package index; {where}", where=where),
        )
    if _NETWORK.search(text):
        return OfflineError(
            msg("{name}: the package index cannot be reached", name=name),
            hint=msg("check the network, then run the same command again; {where}", where=where),
        )
    if _ENSUREPIP.search(text):
        return UnsupportedError(
            msg("this Python cannot make virtual environments"),
            hint=msg("install uv (pip install uv), or on Debian: apt install python3-venv"),
        )
    if _PYTHON.search(text):
        return UnsupportedError(
            msg("{name}: a package of it does not run with this Python", name=name),
            hint=msg("name another: localq backend install {name} --python PATH", name=name),
        )
    if found := _NONE.search(text):
        return LocalqError(
            msg(
                "the package index has no {package} for this machine",
                package=found[1] or found[2] or found[3],
            ),
            hint=where,
        )
    if _COMPILER.search(text):
        return LocalqError(
            msg("{name}: a package of it must be compiled, and that failed", name=name),
            hint=msg("install a C compiler and Python's headers; {where}", where=where),
        )
    errors = [line for line in lines if re.match(r"\s*(ERROR|error|Error|×)", line)]
    last = (errors or [line for line in lines if line.strip()] or [""])[-1].strip()[:200]
    return LocalqError(
        msg("{name} could not be installed: {last}", name=name, last=last), hint=where
    )
