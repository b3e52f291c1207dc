"""Jan's models: llamacpp/models/NAME/model.yml with `model_path`, which the data folder begins.

https://jan.ai/docs/desktop/data-folder; files that Jan only refers to, elsewhere on the disk, are
left: they are not Jan's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from localq.library.foreign.found import (
    ForeignModel,
    FoundFile,
    Skipped,
    group_ggufs,
    plain_file,
    read_text,
    walk_files,
)
from localq.messages import msg

__all__ = ["find", "folders"]

_PATH = re.compile(r"^model_path:[ \t]*(?P<path>\S.*?)[ \t]*$", re.MULTILINE)
_MODELS = Path("llamacpp") / "models"


def folders(environ: Mapping[str, str], home: Path) -> list[Path]:
    def place(variable: str, default: Path) -> Path:
        chosen = environ.get(variable)
        return Path(chosen) if chosen else default

    return [
        place("XDG_DATA_HOME", home / ".local" / "share") / "Jan" / "data",
        place("XDG_CONFIG_HOME", home / ".config") / "Jan" / "data",
        home / "Library" / "Application Support" / "Jan" / "data",
        place("APPDATA", home / "AppData" / "Roaming") / "Jan" / "data",
        home / "jan",
    ]


def find(folder: Path) -> Iterator[ForeignModel | Skipped]:
    models = folder / _MODELS
    for path in walk_files(models, depth=4):
        if path.name != "model.yml":
            continue
        label = path.parent.relative_to(models).as_posix()
        match = _PATH.search(read_text(path, folder) or "")
        if match is None:
            yield Skipped(label, msg("{path}: names no model_path", path=path))
            continue
        weights = folder / _unquoted(match["path"])
        yield _model(folder, label, weights)


def _model(folder: Path, label: str, weights: Path) -> ForeignModel | Skipped:
    file = plain_file(weights, folder)
    if isinstance(file, str):
        hint = msg("; take it by its path") if weights.is_absolute() else ""
        return Skipped(label, file + hint)
    siblings = group_ggufs(list(walk_files(file.real.parent, depth=0)))
    shards = next((group for group in siblings if file.real in group), [file.real])
    files: list[FoundFile] = []
    for path in shards:
        shard = plain_file(path, folder)
        if isinstance(shard, str):
            return Skipped(label, shard)
        files.append(shard)
    repo = label if label.count("/") == 1 else None
    return ForeignModel("jan", label, tuple(files), repo=repo)


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1].replace("\0", "")
    return text.replace("\0", "")
