"""Feed-forward networks made of experts: what their tensors are called, and layers without any."""

from __future__ import annotations

from typing import ClassVar

from localq.convert.families.decoder import Decoder, TensorNames

__all__ = ["BIAS_OF_CHOICE", "DenseFirst", "ROUTER", "SHARED", "STACKED"]

_MLP = "model.layers.{i}.mlp"
ROUTER: TensorNames = {f"{_MLP}.gate": "blk.{i}.ffn_gate_inp"}
STACKED: TensorNames = {
    f"{_MLP}.experts.{{e}}.{kind}_proj": f"blk.{{i}}.ffn_{kind}_exps"
    for kind in ("down", "gate", "up")
}
SHARED: TensorNames = {
    f"{_MLP}.shared_experts.{kind}_proj": f"blk.{{i}}.ffn_{kind}_shexp"
    for kind in ("gate", "up", "down")
}
"""Of the experts that are always asked."""
BIAS_OF_CHOICE: TensorNames = {f"{_MLP}.gate.e_score_correction_bias": "blk.{i}.exp_probs_b.bias"}
"""Added to an expert's share when the experts are chosen, not when they are weighed."""


class DenseFirst(Decoder):
    """The first layers have one feed-forward network, the others experts."""

    dense_key: ClassVar[str] = "first_k_dense_replace"

    @property
    def dense_layers(self) -> int:
        return self.count(self.dense_key, self.layers)

    def is_dense(self, layer: int) -> bool:
        return layer < self.dense_layers

    def lacks(self, gguf_name: str, layer: int) -> bool:
        kind = gguf_name.rpartition("blk.{i}.")[2]
        if kind in ("ffn_gate", "ffn_up", "ffn_down"):
            return not self.is_dense(layer)
        return kind.startswith("ffn_") and kind != "ffn_norm" and self.is_dense(layer)
