"""What a model's shape says beyond its memory: what is read for a token, and how another
quantization of it compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from localq.planning.header_values import HeaderValues
from localq.planning.model_shape import LayerShape, ModelShape

__all__ = ["read_per_token", "scaled_shape"]


def read_per_token(shape: ModelShape, metadata: Mapping[str, object]) -> int:
    """Bytes of weights that generating one token goes through: of the experts only those that are
    used, of the embeddings one row, but all of them again where they are the output, too."""
    values = HeaderValues(metadata)
    experts = values.count("expert_count", 0)
    used = min(values.count("expert_used_count", experts), experts)
    total = shape.output_bytes
    for layer in shape.layers:
        total += layer.weights + (layer.experts * used // experts if experts else layer.experts)
    return total


def scaled_shape(shape: ModelShape, numerator: int, denominator: int) -> ModelShape:
    """The model with weights of `numerator / denominator` times the bytes, wherever they are."""

    def scaled(size: int) -> int:
        return -(-size * numerator // denominator)

    layers = tuple(
        LayerShape(layer.kind, scaled(layer.weights), scaled(layer.experts), scaled(layer.largest))
        for layer in shape.layers
    )
    return replace(
        shape,
        layers=layers,
        input_bytes=scaled(shape.input_bytes),
        output_bytes=scaled(shape.output_bytes),
        other_bytes=scaled(shape.other_bytes),
    )
