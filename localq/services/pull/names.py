"""Names of a repository's files that must not become names on this disk."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from localq.errors import HubError
from localq.library.filenames import component_problem
from localq.messages import msg

__all__ = ["refuse_unsafe_names"]

_MAX_DEPTH = 8
_MAX_FILES = 10_000
_LEAVE_OUT = msg("leave it out with --exclude, if you asked for it with --all or --include")


def refuse_unsafe_names(repo: str, paths: Iterable[str]) -> None:
    """HubError for paths that could be written elsewhere, or over each other, on any system."""
    folders: set[str] = set()
    seen: dict[str, str] = {}
    for path in paths:
        *parents, _ = parts = path.split("/")
        if problem := _problem(parts):
            raise _refused(repo, path, problem)
        key = _key(path)
        if (other := seen.get(key)) is not None:
            raise HubError(
                msg(
                    "{repo} has two files whose names differ only in capitals: {path!r} and"
                    " {other!r}",
                    repo=repo,
                    path=path,
                    other=other,
                ),
                hint=_LEAVE_OUT,
            )
        seen[key] = path
        folders |= {_key("/".join(parents[:depth])) for depth in range(1, len(parents) + 1)}
    if both := folders & seen.keys():
        raise _refused(repo, seen[min(both)], msg("a folder has that name too"))
    if len(seen) > _MAX_FILES:
        raise HubError(
            msg("{repo}: {seen:,} files are too many for a model", repo=repo, seen=len(seen)),
            hint=msg("pull it without --all"),
        )


def _problem(parts: list[str]) -> str | None:
    if len(parts) > _MAX_DEPTH:
        return msg("it lies more than {max_depth} folders deep", max_depth=_MAX_DEPTH - 1)
    if parts[-1].casefold().endswith(".partial"):
        return msg("localq's own unfinished files are called so")
    return next((problem for part in parts if (problem := component_problem(part))), None)


def _key(path: str) -> str:
    """The same for all that macOS or Windows would take for one name."""
    return unicodedata.normalize("NFC", path.casefold())


def _refused(repo: str, path: str, problem: str) -> HubError:
    return HubError(
        msg(
            "{repo} has a file that localq will not write: {path!r}: {problem}",
            repo=repo,
            path=path,
            problem=problem,
        ),
        hint=_LEAVE_OUT,
    )
