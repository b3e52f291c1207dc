"""The configs of what was made, set right: what loaders need to read mixed precision, and nothing
of this machine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from localq.formats.json_file import read_json_object
from localq.formats.presence import is_there
from localq.gpu_quant.options import Method
from localq.gpu_quant.quantization_config import BESIDE

__all__ = ["settle_configs"]

_LOCAL = ("offload_to_disk_path",)
_LAYER = re.compile(r"^.*?\.\d+\.")


def settle_configs(root: Path, method: Method, packed: Iterable[str], kept: Iterable[str]) -> None:
    """Write into config.json, and the file beside it, which modules are quantized.

    With modules left as they are, transformers would else read GPTQ wrongly or not at all, and
    AWQ as numbers that are none; vLLM reads the same names.
    """
    kept, packed = sorted(kept), sorted(packed)
    for path in [root / "config.json", *(root / name for name in BESIDE)]:
        if not is_there(path):
            continue
        document = read_json_object(path)
        told = document.get("quantization_config") if path.name == "config.json" else document
        if not isinstance(told, dict):
            continue
        _settle(told, method, packed, kept)
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _settle(told: dict[str, Any], method: Method, packed: list[str], kept: list[str]) -> None:
    meta = told.get("meta")
    if isinstance(meta, dict):
        for name in _LOCAL:
            meta.pop(name, None)
    if not kept:
        return
    if method is Method.AWQ:
        told["modules_to_not_convert"] = [*kept, "lm_head"]
    else:
        # transformers quantizes these, by their names within a layer, and no others.
        inside = sorted({_LAYER.sub("", module) for module in packed})
        told["modules_in_block_to_quantize"] = [[name] for name in inside]
