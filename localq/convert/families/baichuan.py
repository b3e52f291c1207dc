"""Baichuan 1 and 2: Llama with queries, keys and values in one.

Reference: llama.cpp `conversion/baichuan.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from localq.convert.families.decoder import Decoder, TensorNames
from localq.convert.families.names import EMBEDDINGS, GATED_MLP, NORMS
from localq.convert.source_tensor import SourceTensor
from localq.convert.vocabulary.choose import write_vocabulary
from localq.convert.vocabulary.files import TokenizerFiles
from localq.formats.rows import TensorSource
from localq.messages import msg

__all__ = ["Baichuan"]

_PACKED = ".self_attn.W_pack.weight"
_KINDS = ("q", "k", "v")


class Baichuan(Decoder):
    architecture = "baichuan"
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **NORMS,
        **GATED_MLP,
        **{
            f"model.layers.{{i}}.self_attn.{kind}_proj": f"blk.{{i}}.attn_{kind}" for kind in _KINDS
        },
        "model.layers.{i}.self_attn.o_proj": "blk.{i}.attn_output",
    }
    optional: ClassVar[frozenset[str]] = frozenset()
    config_defaults: ClassVar[Mapping[str, Any]] = {"rms_norm_eps": 1e-6}

    def hyperparameters(self) -> None:
        super().hyperparameters()
        self.text("tensor_data_layout", "Meta AI original pth")
        self.u32("rope.dimension_count", self.head_dim)

    def vocabulary(self, files: TokenizerFiles) -> None:
        self._warn(write_vocabulary(files, self.fields))

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        head, packed, _ = name.partition(_PACKED)
        if not packed:
            yield from super().tensors_of(name, source)
            return
        whole = self.piece(name, source)
        if whole.rows % 3:
            raise self.bad_config(
                msg("{rows} rows of {name!r} are not of those heads", rows=whole.rows, name=name)
            )
        share = whole.rows // 3
        turned = self.rotary_rows(name, share, self.heads)
        for i, kind in enumerate(_KINDS):
            order = np.arange(share, dtype=np.intp) if kind == "v" else turned
            made = self.gguf_name(f"{head}.self_attn.{kind}_proj.weight", source)
            part = replace(whole, order=i * share + order)
            yield self.source_of(made, (share, whole.columns), [part])
