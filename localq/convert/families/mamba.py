"""Mamba 1 and 2, Falcon-Mamba, Mamba-Codestral: a state in every layer and nothing else.

References: llama.cpp `conversion/mamba.py`; transformers `models/mamba`, `models/mamba2`,
`models/falcon_mamba`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from localq.convert.checkpoint import Checkpoint
from localq.convert.families.decoder import TensorNames
from localq.convert.families.state_space import (
    LONGEST,
    StateSpace,
    state_names,
    state_vectors,
)
from localq.convert.source_tensor import SourceTensor
from localq.convert.vocabulary.byte_level import write_byte_level
from localq.convert.vocabulary.choose import write_vocabulary
from localq.convert.vocabulary.files import TokenizerFiles
from localq.errors import UnsupportedError
from localq.formats.rows import TensorSource
from localq.messages import msg

__all__ = ["Mamba", "Mamba2"]

_MIXER = "backbone.layers.{i}.mixer"
_AROUND: TensorNames = {
    "backbone.embeddings": "token_embd",
    "backbone.norm_f": "output_norm",
    "lm_head": "output",
    "backbone.layers.{i}.norm": "blk.{i}.attn_norm",
    **state_names(_MIXER),
}


class _Mamba(StateSpace):
    state_size: ClassVar[int]
    """Where the config is silent."""
    tied: ClassVar[bool]

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self.fill_up()

    @property
    def width(self) -> int:
        return self.integer("hidden_size", "d_model", "dim")

    @property
    def inner(self) -> int:
        """The width of what a state is made of: twice the model's, unless it says otherwise."""
        return self._or(self._or(2, "expand") * self.width, "intermediate_size", "d_inner")

    def _or(self, otherwise: int, *keys: str) -> int:
        given = any(self.config.get(key) is not None for key in keys)
        return self.integer(*keys) if given else otherwise

    def _beginning(self) -> None:
        self.u32("context_length", LONGEST)
        self.u32("embedding_length", self.width)
        self.u32("feed_forward_length", 0)
        self.u32("attention.head_count", 0)
        self.u32("block_count", self.layers)
        self.u32("ssm.conv_kernel", self._or(4, "conv_kernel", "d_conv"))
        self.u32("ssm.inner_size", self.inner)
        self.u32("ssm.state_size", self._or(self.state_size, "state_size", "d_state"))

    def _epsilon(self) -> None:
        self.f32("attention.layer_norm_rms_epsilon", 1e-5)
        self._f32_from("attention.layer_norm_rms_epsilon", "layer_norm_epsilon", "rms_norm_eps")

    def renamed(self, name: str) -> str:
        if name.startswith(("model.backbone.", "model.lm_head.")):  # Mamba-Codestral
            return name.removeprefix("model.")
        return name

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        if name == "lm_head.weight" and self.config.get("tie_word_embeddings", self.tied):
            return
        yield from super().tensors_of(name, source)


class Mamba(_Mamba):
    architecture = "mamba"
    names: ClassVar[TensorNames] = {
        **_AROUND,
        f"{_MIXER}.x_proj": "blk.{i}.ssm_x",
        f"{_MIXER}.dt_proj": "blk.{i}.ssm_dt",
    }
    exact: ClassVar[TensorNames] = state_vectors(_MIXER)
    vocabulary_multiple = 8
    has_heads = False
    state_size = 16
    tied = True

    def hyperparameters(self) -> None:
        if self.inner != 2 * self.width:
            raise UnsupportedError(
                msg(
                    "{root}: llama.cpp's Mamba is twice as wide inside; this model is not",
                    root=self.checkpoint.root,
                ),
                hint=msg("take another model"),
            )
        self._beginning()
        rank = -(-self.width // 16)
        if self.config.get("time_step_rank") != "auto":
            rank = self._or(rank, "time_step_rank", "dt_rank")
        self.u32("ssm.time_step_rank", rank)
        self._epsilon()
        self.flag("ssm.dt_b_c_rms", self.config.get("model_type") == "falcon_mamba")
        self.file_type()

    def vocabulary(self, files: TokenizerFiles) -> None:
        write = write_byte_level if files.tokenizer_json is not None else write_vocabulary
        self._warn(write(files, self.fields))


class Mamba2(_Mamba):
    """A state for each head, normed in groups."""

    architecture = "mamba2"
    names: ClassVar[TensorNames] = {**_AROUND, f"{_MIXER}.norm": "blk.{i}.ssm_norm"}
    exact: ClassVar[TensorNames] = {
        **state_vectors(_MIXER),
        f"{_MIXER}.dt_bias": "blk.{i}.ssm_dt.bias",
    }
    vocabulary_multiple = 16
    state_size = 128
    tied = False

    def norm_groups(self) -> int:
        return self._or(1, "n_groups")

    def hyperparameters(self) -> None:
        self._beginning()
        width = self._or(64, "head_dim")
        if self.inner % width:
            raise self.bad_config(
                msg("{inner} does not divide by head_dim {width}", inner=self.inner, width=width)
            )
        self.u32("ssm.time_step_rank", self.inner // width)
        self.u32("ssm.group_count", self.norm_groups())
        self._epsilon()
        self.file_type()

    def vocabulary(self, files: TokenizerFiles) -> None:
        self._warn(write_vocabulary(files, self.fields))
