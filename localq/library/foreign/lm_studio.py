"""LM Studio's models: PUBLISHER/REPO/FILE.gguf, or a checkpoint's files in place of that.

https://lmstudio.ai/docs/app/advanced/import-model
"""

from __future__ import annotations

import json
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

_POINTER = ".lmstudio-home-pointer"
_WEIGHTS = re.compile(r".+\.safetensors|pytorch_model.*\.bin")


def folders(environ: Mapping[str, str], home: Path) -> list[Path]:
    roots = [home / ".lmstudio", home / ".cache" / "lm-studio"]
    pointed = (read_text(home / _POINTER, home, 10_000) or "").strip()
    if pointed and "\0" not in pointed:
        roots.insert(0, Path(pointed))
    chosen = [folder for root in roots if (folder := _chosen_folder(root))]
    return [*chosen, *(root / "models" for root in roots)]


def _chosen_folder(root: Path) -> Path | None:
    """The folder for downloads that the user chose in LM Studio's settings."""
    text = read_text(root / "settings.json", root)
    try:
        folder = json.loads(text)["downloadsFolder"] if text else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if not isinstance(folder, str) or "\0" in folder or not Path(folder).is_absolute():
        return None
    return Path(folder)


def find(folder: Path) -> Iterator[ForeignModel | Skipped]:
    for publisher in children(folder):
        for repo in children(publisher):
            if not repo.is_dir() or repo.is_symlink():
                continue
            name = f"{publisher.name}/{repo.name}"
            paths = list(walk_files(repo, depth=2))
            for shards in group_ggufs(paths):
                label = shards[0].relative_to(folder).as_posix()
                yield _found(folder, label, name, shards, None)
            top = [path for path in paths if path.parent == repo]
            if any(p.name == "config.json" for p in top) and any(
                _WEIGHTS.fullmatch(p.name) for p in top
            ):
                yield _found(folder, name, name, top, repo)


def _found(
    root: Path, label: str, name: str, paths: list[Path], checkpoint: Path | None
) -> ForeignModel | Skipped:
    files: list[FoundFile] = []
    for path in paths:
        file = plain_file(path, root)
        if isinstance(file, str):
            return Skipped(label, file)
        files.append(file)
    return ForeignModel(
        "lm-studio", label, tuple(files), folder=checkpoint, repo=name, from_hub=True
    )
