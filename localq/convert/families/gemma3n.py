"""Gemma 3n, what reads text: a vector for each layer beside every token, four streams of which one
is computed, and a low-rank path beside attention.

References: llama.cpp `conversion/gemma.py`; transformers `models/gemma3n`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import NormalDist
from typing import Any, ClassVar

import numpy as np

from localq.convert.families.decoder import TensorNames
from localq.convert.families.gemma import Gemma3
from localq.convert.source_tensor import SourceTensor
from localq.errors import BadFileError, UnsupportedError
from localq.formats.rows import ArrayPiece, Piece, TensorSource, Transform
from localq.messages import msg

__all__ = ["PER_LAYER_INPUT", "Gemma3n"]

_LAYER = "model.layers.{i}"
PER_LAYER_INPUT: TensorNames = {
    "model.embed_tokens_per_layer": "per_layer_token_embd",
    "model.per_layer_model_projection": "per_layer_model_proj",
    "model.per_layer_projection_norm": "per_layer_proj_norm",
    f"{_LAYER}.per_layer_input_gate": "blk.{i}.inp_gate",
    f"{_LAYER}.per_layer_projection": "blk.{i}.proj",
    f"{_LAYER}.post_per_layer_input_norm": "blk.{i}.post_norm",
}
_STREAMS = 4
_STACKS: TensorNames = {
    "model.altup_projections.": "altup_proj.weight",
    "model.altup_unembed_projections.": "altup_unembd_proj.weight",
}
_MOST_PADDING = 1 << 16
"""Rows; there are 256 tokens for pictures and sounds."""


class Gemma3n(Gemma3):
    architecture = "gemma3n"
    names: ClassVar[TensorNames] = {
        **Gemma3.names,
        **PER_LAYER_INPUT,
        f"{_LAYER}.altup.correction_coefs": "blk.{i}.altup_correct_coef",
        f"{_LAYER}.altup.prediction_coefs": "blk.{i}.altup_predict_coef",
        f"{_LAYER}.altup.modality_router": "blk.{i}.altup_router",
        f"{_LAYER}.altup.router_norm": "blk.{i}.altup_router_norm",
        f"{_LAYER}.laurel.linear_left": "blk.{i}.laurel_l",
        f"{_LAYER}.laurel.linear_right": "blk.{i}.laurel_r",
        f"{_LAYER}.laurel.post_laurel_norm": "blk.{i}.laurel_post_norm",
    }
    exact: ClassVar[TensorNames] = {
        f"{_LAYER}.altup.correct_output_scale": "blk.{i}.altup_correct_scale.weight"
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        **Gemma3.config_defaults,
        "vocab_size": 262400,
        "max_position_embeddings": 32768,
        "query_pre_attn_scalar": None,
        "sliding_window": 512,
        "final_logit_softcapping": 30.0,
        "altup_active_idx": 0,
        "altup_num_inputs": _STREAMS,
        "hidden_size_per_layer_input": 256,
        "num_kv_shared_layers": 15,
    }

    def hyperparameters(self) -> None:
        if self.config.get("altup_num_inputs") != _STREAMS:
            raise UnsupportedError(
                msg(
                    "{root}: llama.cpp's Gemma 3n has {count} streams; this model has not",
                    root=self.checkpoint.root,
                    count=_STREAMS,
                ),
                hint=msg("take another model"),
            )
        super().hyperparameters()
        self.u32("altup.active_idx", self.count("altup_active_idx"))
        self.u32("altup.num_inputs", _STREAMS)
        width = self.integer("hidden_size_per_layer_input")
        self.u32("embedding_length_per_layer_input", width)
        self.u32("attention.shared_kv_layers", self.count("num_kv_shared_layers"))
        self.fields.f32s(f"{self.architecture}.activation_sparsity_scale", self._sparsity())
        windows = [kind == "sliding_attention" for kind in self.of_layers("layer_types")]
        self.refuse_other_sharing(windows, self.count("num_kv_shared_layers", self.layers))
        self.flags("attention.sliding_window_pattern", windows)

    def _check_scale(self) -> None:
        """Its attention has none."""

    def of_layers(self, key: str) -> list[Any]:
        """A setting that is given for each layer."""
        values = self.config.get(key)
        if not isinstance(values, list) or len(values) != self.layers:
            raise self.bad_config(msg("{key} is no list of {layers}", key=key, layers=self.layers))
        return values

    def _sparsity(self) -> list[float]:
        """How many deviations above the mean a number must lie to count, for each layer."""
        shares = self.of_layers("activation_sparsity_pattern")
        found = []
        for share in shares:
            value = np.float32(self.number({"": share}, ""))
            if not 0 <= value < 1:
                raise self.bad_config(msg("activation_sparsity_pattern has {value}", value=value))
            # In float32 as torch computes the inverse of the normal distribution.
            twice = np.float32(2) * value - np.float32(1)
            if twice <= -1:
                found.append(float("-inf"))
                continue
            inverse = NormalDist().inv_cdf((float(twice) + 1) / 2) / 2**0.5
            found.append(float(np.float32(inverse) * np.float32(2**0.5)))
        return found

    def transform(self, name: str, dtype: str) -> Transform | None:
        return None

    def tensors(self) -> Iterator[TensorSource]:
        self._stacked: dict[str, dict[int, SourceTensor]] = {start: {} for start in _STACKS}
        yield from super().tensors()
        for start, found in self._stacked.items():
            if len(found) != _STREAMS - 1:
                raise BadFileError(
                    self.checkpoint.root,
                    msg("no tensor {missing!r}", missing=f"{start}{len(found)}.weight"),
                    hint=msg("pull the model again"),
                )

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        for start, made in _STACKS.items():
            if name.startswith(start):
                yield from self._gathered(start, made, name, source)
                return
        if "embed_tokens" not in name:
            yield from super().tensors_of(name, source)
            return
        piece, size = self.piece(name, source), self.integer("vocab_size")
        pieces: list[Piece] = [piece]
        if 0 < size - piece.rows <= _MOST_PADDING:  # tokens for pictures and sounds have no row
            nothing = np.broadcast_to(np.float32(0), (size - piece.rows, piece.columns))
            pieces.append(ArrayPiece(nothing))
        rows = sum(piece.rows for piece in pieces)
        yield self.source_of(self.gguf_name(name, source), (rows, piece.columns), pieces)

    def _gathered(
        self, start: str, made: str, name: str, source: SourceTensor
    ) -> Iterator[TensorSource]:
        number = name.removeprefix(start).partition(".")[0]
        found = self._stacked[start]
        if number not in {str(i) for i in range(_STREAMS - 1)} or len(source.info.shape) != 2:
            raise BadFileError(
                source.path,
                msg(
                    "tensor {name!r} has shape {list}",
                    name=name[:200],
                    list=list(source.info.shape),
                ),
            )
        found[int(number)] = source
        if len(found) == _STREAMS - 1:
            stack = [found[i] for i in range(_STREAMS - 1)]
            if any(part.info.shape != source.info.shape for part in stack):
                raise BadFileError(
                    source.path, msg("tensor {name!r} is not of its siblings' shape", name=name)
                )
            pieces = [self.piece(name, part) for part in stack]
            yield self.source_of(made, (len(stack), *source.info.shape), pieces)
