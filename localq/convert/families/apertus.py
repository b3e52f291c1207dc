"""Apertus: a feed-forward network without a gate, whose activation has numbers of its own.

References: llama.cpp `conversion/llama.py`; transformers `models/apertus`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from localq.convert.checkpoint import Checkpoint
from localq.convert.families.decoder import TensorNames
from localq.convert.families.llama import Llama
from localq.convert.families.names import ATTENTION, EMBEDDINGS
from localq.convert.families.qwen import QUERY_KEY_NORMS
from localq.convert.small_tensor import read_floats
from localq.convert.source_tensor import SourceTensor
from localq.errors import BadFileError
from localq.formats.rows import TensorSource
from localq.messages import msg

__all__ = ["Apertus"]

_ACTIVATION = ".mlp.act_fn."
_KINDS = ("alpha_n", "alpha_p", "beta", "eps")


class Apertus(Llama):
    architecture = "apertus"
    writes_head_dim = False
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **ATTENTION,
        **QUERY_KEY_NORMS,
        "model.layers.{i}.attention_layernorm": "blk.{i}.attn_norm",
        "model.layers.{i}.feedforward_layernorm": "blk.{i}.ffn_norm",
        "model.layers.{i}.mlp.up_proj": "blk.{i}.ffn_up",
        "model.layers.{i}.mlp.down_proj": "blk.{i}.ffn_down",
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 131072,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 65536,
        "rms_norm_eps": 1e-5,
        "rope_theta": 12000000.0,
    }

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self._activations: dict[str, dict[int, float]] = {kind: {} for kind in _KINDS}

    def row_order(self, name: str, rows: int) -> npt.NDArray[np.intp] | None:
        return None

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        head, mark, kind = name.partition(_ACTIVATION)
        if not mark or kind not in _KINDS:
            yield from super().tensors_of(name, source)
            return
        layer = head.rpartition(".")[2]
        values = read_floats(self.checkpoint, source)
        if not layer.isdecimal() or int(layer) >= self.layers or values.size != 1:
            raise BadFileError(
                source.path,
                msg(
                    "tensor {name!r} has shape {list}",
                    name=name[:200],
                    list=list(source.info.shape),
                ),
            )
        self._activations[kind][int(layer)] = float(values[0])

    def tensors(self) -> Iterator[TensorSource]:
        yield from super().tensors()
        for kind, values in self._activations.items():
            if len(values) != self.layers:
                raise BadFileError(
                    self.checkpoint.root,
                    msg("{kind} of {count} layers are missing", kind=kind, count=self.layers),
                )
            self.fields.f32s(f"xielu.{kind}", [values[layer] for layer in sorted(values)])
