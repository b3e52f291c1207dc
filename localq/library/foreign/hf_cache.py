"""The cache of Hugging Face's own libraries.

    models--ORG--NAME/refs/main                      the commit that "main" is
    models--ORG--NAME/snapshots/COMMIT/FILE          a link to
    models--ORG--NAME/blobs/HASH                     SHA-256 for large files, else git's SHA-1

https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from localq.library.foreign.found import (
    ForeignModel,
    FoundFile,
    Skipped,
    children,
    group_ggufs,
    plain_file,
    read_text,
    walk_files,
)

__all__ = ["find", "folders"]

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REPO = re.compile(r"models--(?P<repo>.+)")
_MODULE = re.compile(r"[0-9]{1,2}_[A-Za-z]{1,40}")
"""A folder of a sentence-transformer, such as 1_Pooling."""
_WEIGHTS = re.compile(r".+\.safetensors|pytorch_model.*\.bin")


def folders(environ: Mapping[str, str], home: Path) -> list[Path]:
    def expanded(text: str) -> Path:
        return Path(os.path.expandvars(text)).expanduser()

    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if chosen := environ.get(name):
            return [expanded(chosen)]
    if chosen := environ.get("HF_HOME"):
        return [expanded(chosen) / "hub"]
    cache = environ.get("XDG_CACHE_HOME")
    return [(expanded(cache) if cache else home / ".cache") / "huggingface" / "hub"]


def find(folder: Path, tool: str = "hf-cache") -> Iterator[ForeignModel | Skipped]:
    for root in children(folder):
        match = _REPO.fullmatch(root.name)
        if match is None or not root.is_dir() or root.is_symlink():
            continue
        repo = "/".join(match["repo"].split("--", 1))
        snapshot = _snapshot(root)
        if snapshot is not None:
            yield from _models(tool, root, snapshot, repo)


def _snapshot(root: Path) -> Path | None:
    """The state that "main" is, else the latest that was fetched."""
    snapshots = [
        path
        for path in children(root / "snapshots")
        if _COMMIT.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    ]
    main = (read_text(root / "refs" / "main", root, 100) or "").strip()
    return next(
        (path for path in snapshots if path.name == main),
        max(snapshots, key=lambda path: (path.stat().st_mtime, path.name), default=None),
    )


def _models(tool: str, root: Path, snapshot: Path, repo: str) -> Iterator[ForeignModel | Skipped]:
    paths = list(walk_files(snapshot, depth=2))
    for shards in group_ggufs(paths):
        yield _found(tool, root, snapshot, repo, shards, label=f"{repo}/{shards[0].name}")
    top = [path for path in paths if path.parent == snapshot]
    if any(path.name == "config.json" for path in top) and any(
        _WEIGHTS.fullmatch(path.name) for path in top
    ):
        modules = [path for path in paths if _MODULE.fullmatch(path.parent.name)]
        yield _found(tool, root, snapshot, repo, top + modules, label=repo, checkpoint=True)


def _found(
    tool: str,
    root: Path,
    snapshot: Path,
    repo: str,
    paths: list[Path],
    *,
    label: str,
    checkpoint: bool = False,
) -> ForeignModel | Skipped:
    files: list[FoundFile] = []
    for path in paths:
        file = plain_file(path, root)
        if isinstance(file, str):
            return Skipped(label, file)
        blob = file.real.name
        named = file.real.parent.name == "blobs" and _SHA256.fullmatch(blob) is not None
        files.append(FoundFile(path, file.real, file.size_bytes, blob if named else None))
    return ForeignModel(
        tool=tool,
        label=label,
        files=tuple(files),
        folder=snapshot if checkpoint else None,
        repo=repo,
        revision=snapshot.name,
        from_hub=True,
    )
