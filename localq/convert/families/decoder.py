"""What decoder-only transformers share; a family says where it differs.

Keys, their order and the tensors kept in float32 follow llama.cpp's converter
(`conversion/base.py`, classes ModelBase and TextModel).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from localq.convert.authorship import write_authorship
from localq.convert.checkpoint import Checkpoint, SourceTensor
from localq.convert.fields import FieldBuilder
from localq.convert.model import ConvertedModel
from localq.convert.vocabulary.files import TokenizerFiles
from localq.errors import BadFileError, UnsupportedError
from localq.formats.rows import ArrayPiece, FilePiece, Piece, TensorSource, Transform
from localq.formats.types import QuantType

__all__ = ["Decoder", "TensorNames"]

TensorNames = Mapping[str, str]
"""Checkpoint name without its suffix -> GGUF name; `{i}` stands for the layer."""

_QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION
_MAX_LAYERS = 4096
_SUFFIXES = (".weight", ".bias")
_SKIPPED = (".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq")
_LAYER = re.compile(r"\.(\d+)\.")
_ALWAYS_F32 = re.compile(
    r"(_norm\.weight|ffn_gate_inp(_shexp)?\.weight|position_embd\.weight|token_types\.weight)$"
)
_FLOATS: Mapping[str, QuantType] = {
    "BF16": QuantType.BF16,
    "F16": QuantType.F16,
    "F32": QuantType.F32,
}


class Decoder:
    """Converts one checkpoint. Subclasses set the class variables and override what differs."""

    architecture: ClassVar[str]
    names: ClassVar[TensorNames]
    optional: ClassVar[frozenset[str]] = frozenset({"output"})
    """GGUF names in `names` that a checkpoint may lack: tied embeddings need no output."""
    config_defaults: ClassVar[Mapping[str, Any]] = {}
    """What transformers' config class assumes where config.json is silent."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.config: dict[str, Any] = {**self.config_defaults, **checkpoint.config}
        self.fields = FieldBuilder()
        self.warnings: list[str] = []
        self.layers = self.integer("num_hidden_layers", most=_MAX_LAYERS)

    def convert(self) -> ConvertedModel:
        """The whole checkpoint in GGUF's terms; reads headers and tokenizer files only."""
        tensors = (*self.extra_tensors(), *self.tensors())
        self._refuse_twins(tensors)
        self._refuse_missing(tensors)
        self.fields.string("general.architecture", self.architecture)
        self.fields.string("general.type", "model")
        parameters = sum(tensor.elements for tensor in tensors)
        self._warn(write_authorship(self.checkpoint, self.fields, parameters, _experts(tensors)))
        self.hyperparameters()
        self.fields.u32("general.quantization_version", _QUANTIZATION_VERSION)
        self.vocabulary(TokenizerFiles(self.checkpoint.root, self.checkpoint.config))
        return ConvertedModel(self.architecture, dict(self.fields), tensors, tuple(self.warnings))

    # -- what families override ------------------------------------------------------------------

    def hyperparameters(self) -> None:
        """Write the `<architecture>.*` fields and the file type."""
        config = self.config
        self.u32("block_count", self.layers)
        self._u32_from("context_length", "max_position_embeddings", "n_positions")
        self._u32_from("embedding_length", "hidden_size", "n_embd")
        self._u32_from("feed_forward_length", "intermediate_size", "n_inner")
        self._u32_from("attention.head_count", "num_attention_heads", "n_head")
        self._u32_from("attention.head_count_kv", "num_key_value_heads")
        self.rope()
        self._f32_from("attention.layer_norm_rms_epsilon", "rms_norm_eps", "norm_eps")
        self._f32_from("attention.layer_norm_epsilon", "layer_norm_eps", "layer_norm_epsilon")
        if config.get("head_dim") is not None:
            self.u32("attention.key_length", self.integer("head_dim"))
            self.u32("attention.value_length", self.integer("head_dim"))
        lossless = _FLOATS.get(self.checkpoint.dtype, QuantType.F32)
        self.fields.u32("general.file_type", lossless.file_type)

    def vocabulary(self, files: TokenizerFiles) -> None:
        """Write the `tokenizer.*` fields."""
        raise NotImplementedError

    def extra_tensors(self) -> Iterator[TensorSource]:
        """Tensors that are computed rather than taken from the checkpoint."""
        yield from ()

    def row_order(self, name: str, rows: int) -> npt.NDArray[np.intp] | None:
        """The order in which GGUF wants the rows (of a vector: the elements) of tensor `name`."""
        return None

    def transform(self, name: str) -> Transform | None:
        """What happens to the numbers of the checkpoint's tensor `name`, such as adding 1."""
        return None

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        """What becomes of one tensor of the checkpoint: one tensor, none, or several.

        Override it to leave tensors out, take fused ones apart, or gather experts, of which the
        last one yields the stack. llama.cpp's order is kept if each comes where the converter
        would write it.
        """
        yield self.tensor(name, source)

    # -- tensors -----------------------------------------------------------------------------------

    def tensors(self) -> Iterator[TensorSource]:
        for name, source in self.checkpoint.tensors.items():
            if not name.endswith(_SKIPPED):
                yield from self.tensors_of(name, source)

    def tensor(self, name: str, source: SourceTensor) -> TensorSource:
        """The tensor under its GGUF name, with the family's row order and transform."""
        return self.source_of(
            self.gguf_name(name, source), source.info.shape, [self.piece(name, source)]
        )

    def source_of(
        self, gguf_name: str, shape: Sequence[int], pieces: Sequence[Piece]
    ) -> TensorSource:
        """A tensor of `shape` (slowest dimension first, as in checkpoints) made of `pieces`."""
        return TensorSource(
            gguf_name, tuple(reversed(shape)), tuple(pieces), always_f32(gguf_name, tuple(shape))
        )

    def piece(self, name: str, source: SourceTensor) -> FilePiece:
        """Where the tensor lies, checked; a vector with a row order becomes a column."""
        info = source.info
        if info.dtype not in _FLOATS:
            raise UnsupportedError(
                f"{source.path}: tensor {name[:200]!r} is {info.dtype}, unknown to localq",
                hint="take the original checkpoint in BF16 or F16",
            )
        if not info.shape or 0 in info.shape or len(info.shape) > 3:
            raise BadFileError(source.path, f"tensor {name[:200]!r} has shape {list(info.shape)}")
        rows, columns = prod(info.shape[:-1]), info.shape[-1]
        order = self.row_order(name, rows if len(info.shape) > 1 else columns)
        if order is not None and len(info.shape) == 1:
            rows, columns = columns, 1
        transform = self.transform(name)
        return FilePiece(
            source.path, info.offset, info.dtype, rows, columns, order, transform=transform
        )

    def gguf_name(self, name: str, source: SourceTensor) -> str:
        stem, suffix = name, ""
        for ending in _SUFFIXES:
            if name.endswith(ending):
                stem, suffix = name.removesuffix(ending), ending
        layer = _LAYER.search(stem)
        pattern = stem if layer is None else stem.replace(layer[0], ".{i}.", 1)
        mapped = self.names.get(pattern)
        if mapped is None or (layer and int(layer[1]) >= self.layers):
            raise UnsupportedError(
                f"{source.path}: localq does not know the tensor {name[:200]!r} "
                f"of {self.checkpoint.architecture}",
                hint="the checkpoint may be of another model than its config.json says",
            )
        return mapped.replace("{i}", layer[1] if layer else "") + suffix

    def computed(self, name: str, values: npt.NDArray[np.float32]) -> TensorSource:
        return TensorSource(name, (values.size,), (ArrayPiece(values.reshape(1, -1)),), True)

    # -- config ------------------------------------------------------------------------------------

    def integer(self, *keys: str, most: int = 1 << 31) -> int:
        """The first of the config's keys that is set, which must be a sane positive integer."""
        for key in keys:
            value = self.config.get(key)
            if value is not None:
                if type(value) is not int or not 0 < value <= most:
                    raise self.bad_config(f"{key} is {str(value)[:100]!r}")
                return value
        raise self.bad_config(f"has no {' or '.join(keys)}")

    def number(self, mapping: Mapping[str, Any], key: str, default: float | None = None) -> float:
        value = mapping.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.bad_config(f"{key} is {str(value)[:100]!r}")
        return float(value)

    def bad_config(self, problem: str) -> BadFileError:
        return BadFileError(self.checkpoint.root / "config.json", problem)

    def u32(self, key: str, value: int) -> None:
        self.fields.u32(f"{self.architecture}.{key}", value)

    def f32(self, key: str, value: float) -> None:
        self.fields.f32(f"{self.architecture}.{key}", value)

    def text(self, key: str, value: str) -> None:
        self.fields.string(f"{self.architecture}.{key}", value)

    def _u32_from(self, key: str, *config_keys: str) -> None:
        if any(self.config.get(k) is not None for k in config_keys):
            self.u32(key, self.integer(*config_keys))

    def _f32_from(self, key: str, *config_keys: str) -> None:
        for config_key in config_keys:
            if self.config.get(config_key) is not None:
                self.f32(key, self.number(self.config, config_key))
                return

    # -- rotary embedding --------------------------------------------------------------------------

    def rope_parameters(self) -> dict[str, Any]:
        """The config's rope settings, whichever of transformers' spellings it uses."""
        for key in ("rope_parameters", "rope_scaling"):
            value = self.config.get(key)
            if isinstance(value, dict):
                rope = dict(value)
                break
        else:
            rope = {}
        if self.config.get("rope_theta") is not None:
            rope.setdefault("rope_theta", self.config["rope_theta"])
        if "type" in rope:
            rope.setdefault("rope_type", rope["type"])
        return rope

    def rope(self) -> None:
        rope = self.rope_parameters()
        match rope.get("rope_type"):
            case "linear" if "factor" in rope:
                self.text("rope.scaling.type", "linear")
                self.f32("rope.scaling.factor", self.number(rope, "factor"))
            case "yarn" if "factor" in rope:
                self._yarn(rope)
            case "longrope" | "su":
                self.text("rope.scaling.type", "longrope")
        if "rope_theta" in rope:
            self.f32("rope.freq_base", self.number(rope, "rope_theta"))

    def _yarn(self, rope: Mapping[str, Any]) -> None:
        self.text("rope.scaling.type", "yarn")
        self.f32("rope.scaling.factor", self.number(rope, "factor"))
        original = rope.get("original_max_position_embeddings")
        if type(original) is not int or not 0 < original < 1 << 31:
            raise self.bad_config("rope_scaling has no original_max_position_embeddings")
        self.u32("rope.scaling.original_context_length", original)
        for key, config_keys in (
            ("yarn_ext_factor", ("extrapolation_factor",)),
            ("yarn_attn_factor", ("attention_factor", "attn_factor")),
            ("yarn_beta_fast", ("beta_fast",)),
            ("yarn_beta_slow", ("beta_slow",)),
        ):
            for config_key in config_keys:
                if rope.get(config_key) is not None:
                    self.f32(f"rope.scaling.{key}", self.number(rope, config_key))
                    break

    # -- checks ------------------------------------------------------------------------------------

    def _warn(self, warning: str | None) -> None:
        if warning:
            self.warnings.append(warning)

    def _refuse_twins(self, tensors: tuple[TensorSource, ...]) -> None:
        seen: set[str] = set()
        for tensor in tensors:
            if tensor.name in seen:
                raise BadFileError(
                    self.checkpoint.root, f"two tensors would become {tensor.name!r}"
                )
            seen.add(tensor.name)

    def _refuse_missing(self, tensors: tuple[TensorSource, ...]) -> None:
        present = {tensor.name: tensor for tensor in tensors}
        for name in self.names.values():
            layers = range(self.layers) if "{i}" in name else range(1)
            for i in layers:
                wanted = name.replace("{i}", str(i)) + ".weight"
                if name not in self.optional and wanted not in present:
                    raise BadFileError(
                        self.checkpoint.root,
                        f"the checkpoint is not whole: nothing in it becomes {wanted}",
                        hint="pull the model again",
                    )
        rows = present["token_embd.weight"].rows
        if rows != self.integer("vocab_size"):
            raise self.bad_config(f"vocab_size is not the {rows} rows of the embeddings")


def always_f32(name: str, shape: tuple[int, ...]) -> bool:
    """What the converter keeps in float32: vectors, norms, routers, all that is no weight."""
    return len(shape) <= 1 or not name.endswith(".weight") or _ALWAYS_F32.search(name) is not None


def _experts(tensors: tuple[TensorSource, ...]) -> tuple[int, int, int]:
    """Parameters outside the experts, parameters of one expert, number of experts."""
    shared = one = count = stacks = 0
    for tensor in tensors:
        if "_exps." in tensor.name and len(tensor.shape) > 2:
            one += tensor.elements // tensor.shape[2]
            count += tensor.shape[2]
            stacks += 1
        else:
            shared += tensor.elements
    return shared, one, count // stacks if stacks else 0
