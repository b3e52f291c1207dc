"""What the Hub's API answers, checked before anything believes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from localq.errors import HubError
from localq.hub.source import Digest, DigestKind, RemoteFile
from localq.hub.spec import is_commit, is_repo
from localq.messages import msg

__all__ = ["repo_state", "tree_files"]

_MAX_PATH = 1024
_MAX_SIZE = 1 << 50
_SHA1 = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def repo_state(answer: object, repo: str) -> tuple[str, str]:
    """The repository's present name and the commit, from an answer of /api/models/REPO.

    The name differs from `repo` where it was renamed, or written in other capitals.
    """
    if not isinstance(answer, dict) or not isinstance(commit := answer.get("sha"), str):
        raise _nonsense(repo, msg("no commit"))
    if not is_commit(commit):
        raise _nonsense(repo, msg("no commit"))
    name = answer.get("id")
    return (name if isinstance(name, str) and is_repo(name) else repo), commit


def tree_files(answer: object, repo: str) -> Iterator[RemoteFile]:
    """The files in one page of /api/models/REPO/tree/COMMIT."""
    if not isinstance(answer, list):
        raise _nonsense(repo, msg("no list of files"))
    for entry in answer:
        if not isinstance(entry, dict):
            raise _nonsense(repo, msg("no list of files"))
        if entry.get("type") == "file":
            yield _file(entry, repo)


def _file(entry: dict[str, Any], repo: str) -> RemoteFile:
    path, size = entry.get("path"), entry.get("size")
    if not isinstance(path, str) or not 0 < len(path) <= _MAX_PATH:
        raise _nonsense(repo, msg("a file without a name"))
    lfs = entry.get("lfs")
    if lfs is None:
        digest = entry.get("oid")
        kind, pattern = DigestKind.GIT_BLOB, _SHA1
    elif isinstance(lfs, dict):
        # Some servers write "sha256:" before it, as Git LFS pointers do.
        digest, size = str(lfs.get("oid")).removeprefix("sha256:"), lfs.get("size")
        kind, pattern = DigestKind.SHA256, _SHA256
    else:
        raise _nonsense(repo, msg("{path!r} without a checksum", path=path[:120]))
    if not isinstance(digest, str) or not pattern.fullmatch(digest):
        raise _nonsense(repo, msg("{path!r} without a checksum", path=path[:120]))
    if type(size) is not int or not 0 <= size < _MAX_SIZE:
        raise _nonsense(repo, msg("{path!r} without a size", path=path[:120]))
    return RemoteFile(path, size, Digest(kind, digest))


def _nonsense(repo: str, what: str) -> HubError:
    return HubError(
        msg("{repo}: the Hub's answer makes no sense: it gives {what}", repo=repo, what=what),
        hint=msg("check HF_ENDPOINT, or try again later"),
    )
