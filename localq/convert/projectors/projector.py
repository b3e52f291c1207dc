"""What projectors share on the way to GGUF; each kind says where it differs.

Keys, their order and the tensors' types follow llama.cpp's converter (`conversion/base.py`, class
MmprojModel).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from localq.convert.authorship import write_authorship
from localq.convert.checkpoint import Checkpoint
from localq.convert.families.mapping import TensorMapping
from localq.convert.families.tensor_names import refuse_adapter_inside
from localq.convert.model import ConvertedModel
from localq.convert.projectors.picture_settings import PictureSettings, read_picture_settings
from localq.convert.source_tensor import SourceTensor
from localq.convert.text_part import text_part
from localq.errors import BadFileError
from localq.formats.rows import Piece, TensorSource
from localq.formats.types import QuantType, TensorType
from localq.messages import msg

__all__ = ["ALWAYS_F32", "Projector"]

_QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION
ALWAYS_F32: Mapping[QuantType, TensorType] = {
    QuantType.F16: TensorType.F32,
    QuantType.BF16: TensorType.F32,
}
_NO_BF16: Mapping[QuantType, TensorType] = {QuantType.BF16: TensorType.F32}
_WIDTHS = ("hidden_size", "n_embd")
_ATTENTION_PARTS = ("q", "k", "v", "out")
_LAYER = re.compile(r"\.\d+\.")
_PATCHES = ("v.patch_embd.weight", "mm.patch_merger.weight")


class Projector(TensorMapping):
    """Converts one checkpoint's projector. Subclasses set the class variables."""

    architecture = "clip"
    most_dimensions: ClassVar[int] = 5
    """A convolution over pairs of pictures has five."""
    layer_keys: ClassVar[tuple[str, ...]] = (
        *("n_layers", "num_hidden_layers", "n_layer", "num_layers"),
        *("depth", "layers", "encoder_layers", "vt_num_hidden_layers"),
    )
    kind: ClassVar[str]
    """llama.cpp's name of it (gguf-py `VisionProjectorType`)."""
    parts: ClassVar[tuple[str, ...]]
    """What the names of its tensors begin with."""
    text_defaults: ClassVar[Mapping[str, Any]] = {}
    """What transformers assumes of the part that reads text."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self.text_config = {
            **self.text_defaults,
            **checkpoint.config,
            **text_part(checkpoint.config),
        }

    def convert(self) -> ConvertedModel:
        """The projector in GGUF's terms; nothing is read but headers and JSON files."""
        self.fields.string("general.architecture", self.architecture)
        tensors = tuple(self.tensors())
        self._refuse_missing(tensors)
        self.fields.string("general.type", "mmproj")
        parameters = sum(tensor.elements for tensor in tensors)
        self._warn(write_authorship(self.checkpoint, self.fields, parameters, (parameters, 0, 0)))
        self.fields.u32("general.file_type", QuantType.F16.file_type)
        self.hyperparameters()
        self.fields.u32("general.quantization_version", _QUANTIZATION_VERSION)
        self._refuse_wrong_shapes(tensors)
        return ConvertedModel(self.architecture, dict(self.fields), tensors, tuple(self.warnings))

    # -- what kinds override ---------------------------------------------------------------------

    def hyperparameters(self) -> None:
        """Write the `clip.*` fields; kinds add theirs after these."""
        self.flag("has_vision_encoder", True)
        self.u32("vision.projection_dim", self.text_width)
        self.u32("vision.image_size", self.image_size)
        self.u32("vision.patch_size", self.patch_size)
        self.u32("vision.embedding_length", self.width)
        self.u32("vision.feed_forward_length", self.feed_forward)
        self.u32("vision.block_count", self.layers)
        self.u32("vision.attention.head_count", self.heads)
        self.fields.f32s("clip.vision.image_mean", self.pictures.mean)
        self.fields.f32s("clip.vision.image_std", self.pictures.deviation)

    def takes(self, name: str) -> bool:
        """Whether a tensor of the checkpoint is of the projector."""
        return name.startswith(self.parts)

    def activation(self) -> None:
        """The function between the layers' two matrices, where llama.cpp asks for its name."""
        kind = self.config.get("hidden_act")
        if kind not in ("gelu", "silu"):
            raise self.bad_config(msg("{key} is {value!r}", key="hidden_act", value=str(kind)[:50]))
        self.flag(f"use_{kind}", True)

    def epsilon(self, value: float) -> None:
        self.f32("vision.attention.layer_norm_epsilon", value)

    def type_of(self, gguf_name: str) -> Mapping[QuantType, TensorType]:
        """In which files a matrix has another type than the file."""
        return _NO_BF16 if gguf_name.startswith(_PATCHES) else {}

    # -- what the config says --------------------------------------------------------------------

    def own_part(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        part = config.get("vision_config")
        if not isinstance(part, dict):
            raise self.bad_config(msg("has no {keys}", keys="vision_config"))
        return part

    @property
    def text_width(self) -> int:
        """How wide the vectors are that the language model reads."""
        width = next((self.text_config[k] for k in _WIDTHS if k in self.text_config), None)
        if type(width) is not int or not 0 < width < 1 << 31:
            raise self.bad_config(
                msg("{key} is {value!r}", key="hidden_size", value=str(width)[:100])
            )
        return width

    @cached_property
    def pictures(self) -> PictureSettings:
        """How pictures are made ready."""
        return read_picture_settings(self.checkpoint.root)

    @property
    def image_size(self) -> int:
        return self.integer("image_size")

    @property
    def patch_size(self) -> int:
        return self.integer("patch_size")

    @property
    def width(self) -> int:
        return self.integer("hidden_size", "width", "vt_hidden_size")

    @property
    def feed_forward(self) -> int:
        return self.integer("intermediate_size", "vt_intermediate_size")

    @property
    def heads(self) -> int:
        return self.integer("num_attention_heads", "num_heads", "heads", "vt_num_attention_heads")

    # -- tensors ---------------------------------------------------------------------------------

    def tensors(self) -> Iterator[TensorSource]:
        refuse_adapter_inside(self.checkpoint.root, self.checkpoint.tensors)
        seen: set[str] = set()
        for stored_name, source in self.checkpoint.tensors.items():
            name = self.renamed(self._plain_name(stored_name))
            if not self.takes(name):
                continue
            for tensor in self.tensors_of(name, source):
                if tensor.name in seen:
                    raise BadFileError(
                        source.path, msg("two tensors would become {name!r}", name=tensor.name)
                    )
                seen.add(tensor.name)
                self.origins[tensor.name] = source
                yield tensor

    def _plain_name(self, stored_name: str) -> str:
        """transformers 5 puts "model." before what earlier ones saved without it."""
        name = super()._plain_name(stored_name)
        inner = name.removeprefix("model.")
        outer = name.startswith(self.parts) or not inner.startswith(self.parts)
        return name if outer else inner

    def source_of(
        self, gguf_name: str, shape: Sequence[int], pieces: Sequence[Piece]
    ) -> TensorSource:
        made = super().source_of(gguf_name, shape, pieces)
        if made.always_f32 and not gguf_name.startswith(_PATCHES):
            return made
        return replace(made, always_f32=False, types=self.type_of(gguf_name))

    def thirds(self, name: str, source: SourceTensor, to: Sequence[str]) -> Iterator[TensorSource]:
        """What makes queries, keys and values in one, taken apart and named `to`."""
        info = source.info
        if len(info.shape) not in (1, 2) or info.shape[0] % 3:
            raise self._bad_shape(name, source)
        piece, each = self.piece(name, source), info.shape[0] // 3
        for i, gguf_name in enumerate(to):
            if len(info.shape) == 1:
                size = info.nbytes // 3
                part = replace(piece, offset=piece.offset + i * size, file_columns=each)
            else:
                part = piece.part(i * each, each)
            yield self.source_of(gguf_name, (each, *info.shape[1:]), [part])

    def of_each_picture(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        """A convolution over pairs of pictures as one for the first and one for the second."""
        shape = source.info.shape
        if len(shape) != 5 or shape[2] != 2:
            raise self._bad_shape(name, source)
        piece = self.piece(name, source)
        rows = np.arange(piece.rows, dtype=np.intp).reshape(-1, 2, shape[3])
        for i, ending in enumerate(("", ".1")):
            part = replace(piece, order=rows[:, i].ravel())
            made = f"v.patch_embd.weight{ending}"
            yield self.source_of(made, (*shape[:2], *shape[3:]), [part])

    def _bad_shape(self, name: str, source: SourceTensor) -> BadFileError:
        return BadFileError(
            source.path,
            msg("tensor {name!r} has shape {list}", name=name[:200], list=list(source.info.shape)),
        )

    # -- checks ----------------------------------------------------------------------------------

    def _refuse_missing(self, tensors: Sequence[TensorSource]) -> None:
        present = {tensor.name for tensor in tensors}
        for name in self.names.values():
            for i in range(self.layers) if "{i}" in name else range(1):
                wanted = name.replace("{i}", str(i)) + ".weight"
                spared = name in self.optional or self.lacks(name, i)
                if not spared and wanted not in present:
                    raise BadFileError(
                        self.checkpoint.root,
                        msg(
                            "the projector is not whole: nothing in it becomes {wanted}",
                            wanted=wanted,
                        ),
                        hint=msg("pull the model again"),
                    )

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """GGUF name, `{i}` for the layer -> the shape that it has by the config, slowest first."""
        width, wide = self.width, self.feed_forward
        square = {f"v.blk.{{i}}.attn_{part}.weight": (width, width) for part in _ATTENTION_PARTS}
        return {
            **square,
            "v.blk.{i}.ffn_up.weight": (wide, width),
            "v.blk.{i}.ffn_gate.weight": (wide, width),
            "v.blk.{i}.ffn_down.weight": (width, wide),
        }

    def _refuse_wrong_shapes(self, tensors: Sequence[TensorSource]) -> None:
        """llama.cpp would not load the file, which it would be too late to learn then."""
        shapes = self.shapes()
        for tensor in tensors:
            expected = shapes.get(_LAYER.sub(".{i}.", tensor.name))
            stored = tuple(reversed(tensor.shape))
            if expected is not None and stored != expected:
                origin = self.origins[tensor.name]
                raise BadFileError(
                    origin.path,
                    msg(
                        "tensor {name!r} makes {name2} {as_stored}, but by config.json it is"
                        " {as_stored2}",
                        name=origin.info.name[:200],
                        name2=tensor.name,
                        as_stored=list(stored),
                        as_stored2=list(expected),
                    ),
                    hint=msg("the config.json may be of another model; pull the model again"),
                )
