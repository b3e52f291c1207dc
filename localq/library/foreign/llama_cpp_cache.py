"""What llama.cpp's own programs downloaded.

Releases of 2024 and 2025 keep ORG_REPO_FILE.gguf beside a FILE.gguf.json that names the address;
later ones use the layout of the Hugging Face cache, in LLAMA_CACHE where that is set
(llama.cpp `common/common.cpp`, `common/hf-cache.cpp`).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

from localq.library.foreign import hf_cache
from localq.library.foreign.found import (
    ForeignModel,
    FoundFile,
    Skipped,
    children,
    group_ggufs,
    plain_file,
    read_text,
)

__all__ = ["find", "folders"]

_TOOL = "llama.cpp"
_ADDRESS = re.compile(
    r"https://[^/]+/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/.+", re.ASCII
)


def folders(environ: Mapping[str, str], home: Path) -> list[Path]:
    if chosen := environ.get("LLAMA_CACHE"):
        return [Path(chosen).expanduser()]
    if sys.platform == "win32":
        local = environ.get("LOCALAPPDATA")
        return [Path(local) / "llama.cpp"] if local else []
    if sys.platform == "darwin":
        return [home / "Library" / "Caches" / "llama.cpp"]
    cache = environ.get("XDG_CACHE_HOME")
    return [(Path(cache) if cache else home / ".cache") / "llama.cpp"]


def find(folder: Path) -> Iterator[ForeignModel | Skipped]:
    files = [path for path in children(folder) if not path.is_dir()]
    for shards in group_ggufs(files):
        label = shards[0].name
        found: list[FoundFile] = []
        for path in shards:
            file = plain_file(path, folder)
            if isinstance(file, str):
                yield Skipped(label, file)
                break
            found.append(file)
        else:
            repo = _repo(shards[0], folder)
            yield ForeignModel(_TOOL, label, tuple(found), repo=repo, from_hub=repo is not None)
    yield from hf_cache.find(folder, tool=_TOOL)


def _repo(path: Path, folder: Path) -> str | None:
    """The Hub's name of where the file came from, if that is noted beside it."""
    text = read_text(path.with_name(f"{path.name}.json"), folder)
    try:
        address = json.loads(text)["url"] if text else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    match = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
    return unquote(match["repo"]) if match else None
