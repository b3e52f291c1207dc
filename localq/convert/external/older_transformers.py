"""Checkpoints that transformers 5 saved, for a converter that comes with transformers 4.

Version 5 names a tokenizer class that 4 does not have ("TokenizersBackend"), lists extra special
tokens where 4 expects them by name, and keeps what RoPE needs in `rope_parameters` alone, where 4
falls back on its default base.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from localq.errors import storage_errors
from localq.formats.json_file import read_json_object
from localq.formats.presence import is_there
from localq.messages import msg

__all__ = ["readable_by_transformers_4"]

_CONFIG, _TOKENIZER = "config.json", "tokenizer_config.json"
_NEW_CLASS, _OLD_CLASS = "TokenizersBackend", "PreTrainedTokenizerFast"


@contextmanager
def readable_by_transformers_4(checkpoint: Path, scratch: Path) -> Iterator[Path]:
    """A folder of the same name that means the same: `checkpoint` itself where 4 reads that.

    Else one below `scratch` of links to its files, with the two small ones in 4's words; gone when
    the block ends.
    """
    changed = {
        name: new
        for name, translate in ((_CONFIG, _config), (_TOKENIZER, _tokenizer))
        if is_there(checkpoint / name)
        and (new := translate(old := read_json_object(checkpoint / name))) != old
    }
    if not changed:
        yield checkpoint
        return
    with storage_errors(scratch, hint=msg("let LOCALQ_HOME name another folder")):
        scratch.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(dir=scratch, prefix="checkpoint-")
    with temporary:
        folder = Path(temporary.name) / checkpoint.resolve().name
        with storage_errors(folder, hint=msg("let LOCALQ_HOME name another folder")):
            folder.mkdir()
            for path in checkpoint.iterdir():
                if path.name not in changed:
                    _link(path.resolve(), folder / path.name)
            for name, new in changed.items():
                (folder / name).write_text(json.dumps(new, indent=2), encoding="utf-8")
        yield folder


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    new = dict(config)
    rope = config.get("rope_parameters")
    # By kinds of layers it is a table of tables, which only architectures newer than 4 have.
    if isinstance(rope, dict) and "rope_theta" in rope:
        new.setdefault("rope_theta", rope["rope_theta"])
        if rope.get("rope_type", "default") != "default":
            scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
            new.setdefault("rope_scaling", scaling)
    for inner in ("text_config", "vision_config"):
        if isinstance(config.get(inner), dict):
            new[inner] = _config(config[inner])
    return new


def _tokenizer(config: Mapping[str, Any]) -> dict[str, Any]:
    new = dict(config)
    if config.get("tokenizer_class") == _NEW_CLASS:
        new["tokenizer_class"] = _OLD_CLASS
    extra = config.get("extra_special_tokens")
    if isinstance(extra, list):
        del new["extra_special_tokens"]
        new.setdefault("additional_special_tokens", extra)
    return new


def _link(path: Path, link: Path) -> None:
    try:
        link.symlink_to(path)
    except OSError:  # Windows lets few people make them
        if path.is_file():
            try:
                link.hardlink_to(path)
            except OSError:
                shutil.copyfile(path, link)
