"""What decoder-only transformers share; a family says where it differs.

Keys, their order and the tensors kept in float32 follow llama.cpp's converter
(`conversion/base.py`, classes ModelBase and TextModel).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from localq.convert.authorship import write_authorship
from localq.convert.checkpoint import Checkpoint, Scales, SourceTensor
from localq.convert.fields import FieldBuilder
from localq.convert.model import ConvertedModel
from localq.convert.vocabulary.byte_level import write_byte_level
from localq.convert.vocabulary.files import TokenizerFiles
from localq.errors import BadFileError, UnsupportedError
from localq.formats.rows import ArrayPiece, BlockScales, FilePiece, Piece, TensorSource, Transform
from localq.formats.types import QuantType

__all__ = ["Decoder", "TensorNames"]

TensorNames = Mapping[str, str]
"""Checkpoint name without its suffix -> GGUF name; `{i}` stands for the layer."""

_QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION
_LAYER_NORM_KEYS = ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon")
_LAYER_KEYS = ("n_layers", "num_hidden_layers", "n_layer", "num_layers")
_EXPERT_KEYS = ("num_local_experts", "num_experts", "n_routed_experts")
_MAX_F32 = float(np.finfo(np.float32).max)
_MAX_LAYERS = 4096
_MAX_EXPERTS = 1 << 16
_DEFAULT_THETA = 10000
_SUFFIXES = (".weight", ".bias")
_SKIPPED = (".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq")
_LAYER = re.compile(r"\.(\d+)\.")
_EXPERT = re.compile(r"\.experts\.(\d+)\.")
_ALWAYS_F32 = re.compile(
    r"(_norm\.weight|ffn_gate_inp(_shexp)?\.weight|position_embd\.weight|token_types\.weight)$"
)
_FLOATS: Mapping[str, QuantType] = {
    "BF16": QuantType.BF16,
    "F16": QuantType.F16,
    "F32": QuantType.F32,
    "F8_E4M3": QuantType.BF16,
    "F8_E5M2": QuantType.BF16,
}
"""The type that holds each source dtype without loss."""


class Decoder:
    """Converts one checkpoint. Subclasses set the class variables and override what differs."""

    architecture: ClassVar[str]
    names: ClassVar[TensorNames]
    optional: ClassVar[frozenset[str]] = frozenset({"output"})
    """GGUF names in `names` that a checkpoint may lack: tied embeddings need no output."""
    experts: ClassVar[TensorNames] = {}
    """As `names`, `{e}` standing for the expert: what is stacked, in the order it is written."""
    config_defaults: ClassVar[Mapping[str, Any]] = {}
    """What transformers' config class assumes where config.json is silent."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        text = checkpoint.config.get("text_config")  # of a model that also sees or hears
        self.config: dict[str, Any] = {
            **self.config_defaults,
            **checkpoint.config,
            **(text if isinstance(text, dict) else {}),
        }
        self.fields = FieldBuilder()
        self.warnings: list[str] = []
        self.layers = self.integer(*_LAYER_KEYS, most=_MAX_LAYERS)

    def convert(self) -> ConvertedModel:
        """The whole checkpoint in GGUF's terms; reads headers and tokenizer files only."""
        self.fields.string("general.architecture", self.architecture)
        tensors = (*self.extra_tensors(), *self.tensors())
        self._refuse_twins(tensors)
        self._refuse_missing(tensors)
        self.fields.string("general.type", "model")
        parameters = sum(tensor.elements for tensor in tensors)
        self._warn(write_authorship(self.checkpoint, self.fields, parameters, _experts(tensors)))
        self.hyperparameters()
        self.fields.u32("general.quantization_version", _QUANTIZATION_VERSION)
        size = {"vocab_size": self.config["vocab_size"]} if "vocab_size" in self.config else {}
        self.vocabulary(TokenizerFiles(self.checkpoint.root, {**self.checkpoint.config, **size}))
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
        if config.get("is_causal") is False:
            self.flag("attention.causal", False)
        self.rope()
        self._f32_from("attention.layer_norm_rms_epsilon", "rms_norm_eps", "norm_eps")
        self._f32_from("attention.layer_norm_epsilon", *_LAYER_NORM_KEYS)
        self._u32_from("expert_count", *_EXPERT_KEYS)
        self._u32_from("expert_used_count", "num_experts_per_tok", "num_experts_per_token")
        self._u32_from("expert_group_count", "n_group")
        self._u32_from("expert_group_used_count", "topk_group")
        if config.get("head_dim") is not None:
            self.u32("attention.key_length", self.integer("head_dim"))
            self.u32("attention.value_length", self.integer("head_dim"))
        self.file_type()

    def file_type(self) -> None:
        """The type that loses nothing; a family whose converter leaves it out does not call it."""
        lossless = _FLOATS.get(self.checkpoint.dtype, QuantType.F32)
        self.fields.u32("general.file_type", lossless.file_type)

    def vocabulary(self, files: TokenizerFiles) -> None:
        """Write the `tokenizer.*` fields; byte-level BPE unless a family says otherwise."""
        self._warn(write_byte_level(files, self.fields))

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
        gathered: dict[str, dict[str, SourceTensor]] = {}
        for name, source in self.checkpoint.tensors.items():
            if name.endswith(_SKIPPED):
                continue
            if (layer := self._layer_of_expert(name)) is None:
                yield from self.tensors_of(name, source)
                continue
            found = gathered.setdefault(layer, {})
            found[name] = source
            if len(found) == self.expert_count * len(self.experts):
                yield from self._stacks(layer, gathered.pop(layer))
        if gathered:
            raise BadFileError(
                self.checkpoint.root,
                f"experts of layer {min(gathered, key=int)} are missing",
                hint="pull the model again",
            )

    @property
    def expert_count(self) -> int:
        return self.integer(*_EXPERT_KEYS, most=_MAX_EXPERTS)

    def _layer_of_expert(self, name: str) -> str | None:
        """The layer of a tensor that is to be stacked, None for any other."""
        if not (self.experts and (expert := _EXPERT.search(name))):
            return None
        layer = _LAYER.search(name)
        if layer is None or layer.start() >= expert.start():
            return None
        stem = f"{name[: layer.start()]}.{{i}}.{name[layer.end() : expert.start()]}"
        stem = f"{stem}.experts.{{e}}.{name[expert.end() :].removesuffix('.weight')}"
        known = stem in self.experts and int(layer[1]) < self.layers
        return layer[1] if known and int(expert[1]) < self.expert_count else None

    def _stacks(self, layer: str, found: Mapping[str, SourceTensor]) -> Iterator[TensorSource]:
        """One tensor for each kind of matrix, its experts one after another."""
        for pattern, gguf_name in self.experts.items():
            stem = pattern.replace("{i}", layer)
            names = [f"{stem.replace('{e}', str(e))}.weight" for e in range(self.expert_count)]
            if missing := [name for name in names if name not in found]:
                raise BadFileError(self.checkpoint.root, f"no tensor {missing[0]!r}")
            shape = found[names[0]].info.shape
            for name in names:
                if found[name].info.shape != shape:
                    raise BadFileError(
                        found[name].path, f"tensor {name!r} is not of its siblings' shape"
                    )
            pieces = [self.piece(name, found[name]) for name in names]
            name = gguf_name.replace("{i}", layer) + ".weight"
            yield self.source_of(name, (len(names), *shape), pieces)

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
        transform, scales = self.transform(name), None
        if source.scales is not None:
            scales = self._scales(source.scales, info.shape)
        return FilePiece(
            *(source.path, info.offset, info.dtype, rows, columns, order),
            transform=transform,
            scales=scales,
        )

    def _scales(self, scales: Scales, shape: tuple[int, ...]) -> BlockScales:
        path, info = scales.tensor.path, scales.tensor.info
        if info.dtype not in _FLOATS:
            raise BadFileError(path, f"tensor {info.name[:200]!r} is {info.dtype}")
        columns = info.shape[-1] if len(info.shape) > 1 else 1
        rows = prod(info.shape) // columns
        factors = FilePiece(path, info.offset, info.dtype, rows, columns)
        height = shape[-2] if scales.rows <= shape[-2] else prod(shape[:-1])
        return BlockScales(factors, scales.rows, scales.columns, height)

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

    def halves(
        self, name: str, source: SourceTensor, first: str, second: str
    ) -> Iterator[TensorSource]:
        """A matrix, or each of a stack, taken apart: the upper rows, then the lower ones."""
        info = source.info
        if len(info.shape) not in (2, 3) or info.shape[-2] % 2:
            raise BadFileError(source.path, f"tensor {name[:200]!r} has shape {list(info.shape)}")
        piece = self.piece(name, source)
        shape = (*info.shape[:-2], info.shape[-2] // 2, info.shape[-1])
        rows = np.arange(piece.file_rows, dtype=np.intp).reshape(-1, 2, shape[-2])
        for i, gguf_name in enumerate((first, second)):
            yield self.source_of(gguf_name, shape, [replace(piece, order=rows[:, i].ravel())])

    def rotary_rows(self, name: str, rows: int, heads: int) -> npt.NDArray[np.intp]:
        """Undo the halves-first rotary layout of transformers: llama.cpp rotates neighbours."""
        if rows % (2 * heads):
            raise self.bad_config(f"{rows} rows of {name[:200]!r} do not divide by {heads} heads")
        order = np.arange(rows, dtype=np.intp).reshape(heads, 2, rows // heads // 2)
        return order.swapaxes(1, 2).ravel()

    def split_qkv(
        self, name: str, rows: int, heads: int, kv_heads: int
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Which rows of a fused matrix are queries, keys and values.

        In it the query heads that share a key come together, then that key, then its value.
        """
        if heads % kv_heads or rows % (heads + 2 * kv_heads):
            raise self.bad_config(
                f"{rows} rows of {name[:200]!r} are not of {heads} and twice {kv_heads} heads"
            )
        order = np.arange(rows, dtype=np.intp).reshape(kv_heads, heads // kv_heads + 2, -1)
        return order[:, :-2].ravel(), order[:, -2].ravel(), order[:, -1].ravel()

    def computed(self, name: str, values: npt.NDArray[np.float32]) -> TensorSource:
        return TensorSource(name, (values.size,), (ArrayPiece(values.reshape(1, -1)),), True)

    # -- config ------------------------------------------------------------------------------------

    @property
    def head_dim(self) -> int:
        if self.config.get("head_dim") is not None:
            return self.integer("head_dim")
        hidden = self.integer("hidden_size")
        if hidden % self.heads:
            raise self.bad_config(f"hidden_size {hidden} does not divide by {self.heads} heads")
        return hidden // self.heads

    @property
    def heads(self) -> int:
        return self.integer("num_attention_heads")

    @property
    def kv_heads(self) -> int:
        return self.integer("num_key_value_heads", "num_attention_heads")

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
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not -_MAX_F32 <= value <= _MAX_F32
        ):
            raise self.bad_config(f"{key} is {str(value)[:100]!r}")
        return float(value)

    def bad_config(self, problem: str) -> BadFileError:
        return BadFileError(self.checkpoint.root / "config.json", problem)

    def u32(self, key: str, value: int) -> None:
        if not 0 <= value < 1 << 32:
            raise self.bad_config(f"gives {value} for {key}")
        self.fields.u32(f"{self.architecture}.{key}", value)

    def f32(self, key: str, value: float) -> None:
        self.fields.f32(f"{self.architecture}.{key}", value)

    def flag(self, key: str, value: bool) -> None:
        self.fields.boolean(f"{self.architecture}.{key}", value)

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

    def rope_parameters(self, attention: str = "full_attention") -> dict[str, Any]:
        """The config's rope settings, whichever of transformers' spellings it uses.

        Some models turn faster in their layers of `attention` "sliding_attention"; where the
        config has no settings for those, none come back.
        """
        config = self.config
        rope: dict[str, Any] = {}
        for key in ("rope_parameters", "rope_scaling"):
            if isinstance(config.get(key), dict):
                rope = dict(config[key])
                break
        nested = {"full_attention", "sliding_attention"} & rope.keys()
        if nested:
            part = rope.get(attention)
            rope = dict(part) if isinstance(part, dict) else {}
        elif attention == "sliding_attention":
            return {"rope_theta": theta} if (theta := config.get("rope_local_base_freq")) else {}
        else:
            for key in ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings"):
                if config.get(key) is not None:
                    rope.setdefault(key, config[key])
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
            case None | "default" | "dynamic" | "llama3":
                pass
            case other:
                self._warn(f"llama.cpp knows no rope_scaling of type {str(other)[:50]!r}")
        if "rope_theta" in rope:
            self.f32("rope.freq_base", self.number(rope, "rope_theta"))
        if "rope_theta" in (local := self.rope_parameters("sliding_attention")):
            self.f32("rope.freq_base_swa", self.number(local, "rope_theta"))

    def unusual_rope(self) -> None:
        """For families whose converter writes no rope settings: those that are not llama.cpp's
        defaults, without which the model would be another."""
        rope = self.rope_parameters()
        plain = rope.get("rope_type") in (None, "default", "dynamic")
        if not plain or rope.get("rope_theta", _DEFAULT_THETA) != _DEFAULT_THETA:
            self.rope()

    def _yarn(self, rope: Mapping[str, Any]) -> None:
        self.text("rope.scaling.type", "yarn")
        self.f32("rope.scaling.factor", self.number(rope, "factor"))
        # Where it is missing, transformers takes the context for the original one too.
        original = rope.get("original_max_position_embeddings")
        if original is None:
            original = self.integer("max_position_embeddings")
        if type(original) is not int or not 0 < original < 1 << 31:
            raise self.bad_config(f"original_max_position_embeddings is {str(original)[:100]!r}")
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
        for name in (*self.names.values(), *self.experts.values()):
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
