"""What an AWQ or GPTQ checkpoint says of how it was quantized: in config.json, and of older ones in
a file beside it. The names are those of transformers, AutoAWQ and AutoGPTQ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localq.errors import BadFileError
from localq.formats.json_file import read_json_object
from localq.formats.presence import is_there
from localq.gpu_quant.options import Method
from localq.messages import msg

__all__ = ["BESIDE", "QuantizationConfig", "is_int4_config", "quantization_of"]

BESIDE = ("quantize_config.json", "quant_config.json")
"""AutoGPTQ's and AutoAWQ's."""


@dataclass(frozen=True, slots=True)
class QuantizationConfig:
    """`group_size` -1: a group is a whole row; `kept` are the names of modules, or parts of them,
    that were not to be quantized."""

    method: Method
    bits: int
    group_size: int
    symmetric: bool
    desc_act: bool
    kept: tuple[str, ...]


def is_int4_config(config: Mapping[str, Any]) -> bool:
    """Whether a config.json tells of AWQ or GPTQ."""
    told = config.get("quantization_config")
    return isinstance(told, dict) and told.get("quant_method") in tuple(Method)


def quantization_of(root: Path, config: Mapping[str, Any]) -> QuantizationConfig | None:
    """What the checkpoint in the folder `root` says; None where it tells of neither method.

    BadFileError where what it says cannot be.
    """
    told = config.get("quantization_config")
    if isinstance(told, dict):
        return _parsed(root / "config.json", told) if is_int4_config(config) else None
    for name in BESIDE:
        if is_there(root / name):
            return _parsed(root / name, read_json_object(root / name))
    return None


def _parsed(path: Path, told: Mapping[str, Any]) -> QuantizationConfig:
    method = told.get("quant_method")
    if method is None:  # AutoAWQ names its version of the format instead
        method = "awq" if "w_bit" in told or "zero_point" in told else "gptq"
    bits = told.get("bits", told.get("w_bit"))
    group = told.get("group_size", told.get("q_group_size"))
    if method not in tuple(Method):
        raise BadFileError(path, msg("quant_method {method!r} is not known", method=method))
    if type(bits) is not int or bits not in (2, 3, 4, 8):
        raise BadFileError(path, msg("bits are 2, 3, 4 or 8, not {bits!r}", bits=bits))
    if type(group) is not int or not (group == -1 or 0 < group <= 1 << 20):
        raise BadFileError(path, msg("group_size {group!r} cannot be", group=group))
    is_awq = method == Method.AWQ
    symmetric = not told.get("zero_point", True) if is_awq else bool(told.get("sym", True))
    kept = told.get("modules_to_not_convert")
    return QuantizationConfig(
        Method(method),
        bits,
        group,
        symmetric,
        bool(told.get("desc_act", False)),
        tuple(map(str, kept)) if isinstance(kept, list) else (),
    )
