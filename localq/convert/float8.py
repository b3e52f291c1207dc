"""Checkpoints in 8-bit floats: which factors belong to which weights.

DeepSeek-V3 and transformers' FineGrainedFP8 keep a factor for each block of a matrix beside it
("weight_scale_inv"); compressed-tensors and ModelOpt keep one for each row or for the whole
("weight_scale"). Reference: llama.cpp `conversion/base.py`, `dequant_model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from localq.convert.quantized import already_quantized, holds_packed_weights
from localq.convert.source_tensor import Scales, SourceTensor
from localq.errors import BadFileError, UnsupportedError
from localq.formats.safetensors import TensorInfo
from localq.messages import msg

__all__ = ["attach_scales"]

_UNUSED = (".activation_scale", "_activation_scale", ".input_scale", ".k_scale", ".v_scale")
"""Of activations and of the cache, which are not in 8 bits here."""
_SUFFIXES: Mapping[str, str] = {
    "fp8": "_scale_inv",
    "compressed-tensors": "_scale",
    "modelopt": "_scale",
}
_FORMATS = ("float-quantized", "naive-quantized")
_USUAL_BLOCK = (128, 128)


@dataclass(frozen=True, slots=True)
class _Scheme:
    suffix: str
    block: tuple[int, int] | None


def attach_scales(
    root: Path, quantization: object, tensors: Mapping[str, SourceTensor]
) -> dict[str, SourceTensor]:
    """The tensors without the factors, each 8-bit one knowing its own.

    `quantization` is the config's quantization_config; where all weights are plain numbers it was
    left behind by someone who unpacked them, and is not minded. Raises UnsupportedError unless it
    is one of 8-bit floats.
    """
    try:
        scheme = _scheme(root, quantization)
    except UnsupportedError:
        if holds_packed_weights(tensors):
            raise
        return dict(tensors)
    found: dict[str, SourceTensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(_UNUSED):
            continue
        if name.endswith(scheme.suffix) and name.removesuffix(scheme.suffix) in tensors:
            continue
        scale = tensors.get(name + scheme.suffix)
        if scale is not None:
            tensor = _scaled(tensor, scale, scheme.block)
        elif tensor.info.dtype.startswith("F8"):
            raise BadFileError(
                tensor.path,
                msg(
                    "tensor {name!r} is of 8-bit floats, but no {suffix} is beside it",
                    name=name[:200],
                    suffix=scheme.suffix,
                ),
                hint=msg("pull the model again"),
            )
        found[name] = tensor
    return found


def _scheme(root: Path, quantization: object) -> _Scheme:
    config: Mapping[str, Any] = quantization if isinstance(quantization, dict) else {}
    method = config.get("quant_method")
    block: object = config.get("weight_block_size")
    if method == "compressed-tensors":
        weights = _weights_of(config)
        if weights is None:
            raise already_quantized(root, f"compressed-tensors, {str(config.get('format'))[:50]}")
        block = weights.get("block_structure")
    elif method == "modelopt":
        if config.get("quant_algo") != "FP8":
            raise already_quantized(root, f"modelopt, {str(config.get('quant_algo'))[:50]}")
    elif method != "fp8":
        raise already_quantized(root, str(method)[:50] if method else "unknown method")
    suffix = _SUFFIXES[str(method)]
    if block is None:
        return _Scheme(suffix, None)
    if isinstance(block, list) and len(block) == 2:
        rows, columns = block
        if type(rows) is int and type(columns) is int and min(rows, columns) > 0:
            return _Scheme(suffix, (rows, columns))
    raise BadFileError(
        root / "config.json", msg("impossible blocks {block!r}", block=str(block)[:50])
    )


def _weights_of(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What compressed-tensors says of the weights, if they are 8-bit floats."""
    groups = config.get("config_groups")
    if config.get("format") not in _FORMATS or not isinstance(groups, dict) or len(groups) != 1:
        return None
    group = next(iter(groups.values()))
    weights = group.get("weights") if isinstance(group, dict) else None
    if not isinstance(weights, dict):
        return None
    is_float8 = weights.get("type") == "float" and weights.get("num_bits") == 8
    return weights if is_float8 and weights.get("group_size") is None else None


def _scaled(
    tensor: SourceTensor, scale: SourceTensor, block: tuple[int, int] | None
) -> SourceTensor:
    weight, factors = tensor.info, scale.info
    is_matrix = len(weight.shape) in (2, 3) and 0 not in weight.shape
    if not (is_matrix and weight.dtype.startswith("F8")):
        raise BadFileError(
            tensor.path,
            msg(
                "tensor {name!r} has factors but is no matrix of 8-bit floats",
                name=weight.name[:200],
            ),
        )
    for size in _possible_blocks(weight, block):
        if _factors_shape(weight, size) == _matrix_shape(factors):
            return replace(tensor, scales=Scales(scale, *size))
    raise BadFileError(
        scale.path,
        msg(
            "tensor {name!r} has shape {list}, which does not fit {list2} in blocks of {list3}",
            name=factors.name[:200],
            list=list(factors.shape),
            list2=list(weight.shape),
            list3=list(block or _USUAL_BLOCK),
        ),
    )


def _possible_blocks(
    weight: TensorInfo, block: tuple[int, int] | None
) -> tuple[tuple[int, int], ...]:
    """Of the given size; of whole matrices; of rows; of the usual size."""
    rows, columns = weight.shape[-2:]
    if block is not None:
        return ((min(block[0], rows), min(block[1], columns)),)
    return ((prod(weight.shape[:-1]), columns), (rows, columns), (1, columns), _USUAL_BLOCK)


def _factors_shape(weight: TensorInfo, block: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns that the factors have as one matrix."""
    *stack, rows, columns = weight.shape
    if block[0] > rows:  # one factor for a whole stack
        return 1, 1
    return prod(stack) * -(-rows // block[0]), -(-columns // block[1])


def _matrix_shape(factors: TensorInfo) -> tuple[int, int]:
    if len(factors.shape) < 2:
        return prod(factors.shape), 1
    return prod(factors.shape[:-1]), factors.shape[-1]
