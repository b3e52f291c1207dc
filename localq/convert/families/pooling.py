"""How the tokens' vectors become the text's, as sentence-transformers notes it.

Reference: llama.cpp `conversion/base.py`, `_try_set_pooling_type`.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from localq.errors import BadFileError, UnsupportedError
from localq.formats.json_file import read_json_array, read_json_object
from localq.formats.presence import is_there
from localq.messages import msg

__all__ = ["pooling_type"]

_POOLINGS = (
    # GGUF's number, sentence-transformers' old key, its new name
    (1, "pooling_mode_mean_tokens", "mean"),
    (2, "pooling_mode_cls_token", "cls"),
    (3, "pooling_mode_lasttoken", "lasttoken"),
)


def pooling_type(root: Path) -> int | None:
    """GGUF's number for what the checkpoint's modules.json says; None where there is none."""
    modules = root / "modules.json"
    if not is_there(modules):
        return None
    for module in read_json_array(modules):
        if not (isinstance(module, dict) and str(module.get("type")).endswith("Pooling")):
            continue
        folder = str(module.get("path"))
        if PurePosixPath(folder).is_absolute() or ".." in PurePosixPath(folder).parts:
            raise BadFileError(
                modules, msg("names a folder outside: {folder!r}", folder=folder[:200])
            )
        path = root / folder / "config.json"
        pooling = read_json_object(path)
        for number, key, name in _POOLINGS:
            if pooling.get(key) or pooling.get("pooling_mode") == name:
                return number
        raise UnsupportedError(
            msg("{path}: llama.cpp pools by mean, first or last token only", path=path),
            hint=msg("take another model"),
        )
    return None
