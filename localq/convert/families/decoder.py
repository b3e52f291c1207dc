"""What transformers share on the way to GGUF; a family says where it differs.

Keys, their order and the tensors kept in float32 follow llama.cpp's converter
(`conversion/base.py`, classes ModelBase and TextModel).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from localq.convert.authorship import write_authorship
from localq.convert.families.mapping import LOSSLESS, TensorMapping, TensorNames
from localq.convert.families.pooling import pooling_type
from localq.convert.families.settings import EXPERT_KEYS
from localq.convert.mistral_params import MISTRAL_PARAMS
from localq.convert.model import ConvertedModel
from localq.convert.vocabulary.byte_level import write_byte_level
from localq.convert.vocabulary.files import TokenizerFiles
from localq.convert.vocabulary.turn_ends import write_turn_ends
from localq.errors import BadFileError
from localq.formats.rows import TensorSource
from localq.formats.tensor_shapes import wrong_shapes
from localq.formats.types import QuantType
from localq.messages import msg

__all__ = ["Decoder", "TensorNames"]

_QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION
GATING: Mapping[str, int] = {"softmax": 1, "sigmoid": 2, "sqrtsoftplus": 4}
"""llama.cpp's numbers (gguf-py `ExpertGatingFuncType`)."""
_GATING_KEYS = (
    *("score_function", "scoring_func", "score_func", "moe_router_activation"),
    *("moe_router_activation_func", "expert_selection_fn"),
)
_SPEAKERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", MISTRAL_PARAMS)
_CONTEXT_KEYS = (
    *("max_position_embeddings", "n_ctx", "n_positions"),
    *("max_length", "max_sequence_length", "model_max_length"),
)
_LAYER_NORM_KEYS = ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon")


class Decoder(TensorMapping):
    """Converts one checkpoint. Subclasses set the class variables and override what differs."""

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
        files = TokenizerFiles(self.checkpoint.root, {**self.checkpoint.config, **size})
        self.vocabulary(files)
        self._warn(write_turn_ends(files, self.fields))
        self._refuse_wrong_shapes(tensors)
        return ConvertedModel(self.architecture, dict(self.fields), tensors, tuple(self.warnings))

    # -- what families override ------------------------------------------------------------------

    def hyperparameters(self) -> None:
        """Write the `<architecture>.*` fields and the file type."""
        config = self.config
        self.u32("block_count", self.layers)
        self._u32_from("context_length", *_CONTEXT_KEYS)
        self._u32_from("embedding_length", "hidden_size", "n_embd")
        self._feed_forward_length()
        self._u32_from("attention.head_count", "num_attention_heads", "n_head")
        self._u32_from("attention.head_count_kv", "num_key_value_heads")
        if config.get("is_causal") is False:
            self.flag("attention.causal", False)
        self.rope()
        self._f32_from("attention.layer_norm_rms_epsilon", "rms_norm_eps", "norm_eps")
        self._f32_from("attention.layer_norm_epsilon", *_LAYER_NORM_KEYS)
        self._count_from("expert_count", *EXPERT_KEYS)
        self._count_from(
            "expert_used_count", "num_experts_per_tok", "num_experts_per_token", "top_k_experts"
        )
        self._u32_from("expert_group_count", "n_group")
        self._u32_from("expert_group_used_count", "topk_group")
        self._gating()
        if config.get("head_dim") is not None:
            self.u32("attention.key_length", self.integer("head_dim"))
            self.u32("attention.value_length", self.integer("head_dim"))
        self.file_type()

    def _feed_forward_length(self) -> None:
        """A number, or one for each layer."""
        widths = self.config.get("intermediate_size")
        if not isinstance(widths, list):
            self._u32_from("feed_forward_length", "intermediate_size", "n_inner")
            return
        if len(widths) != self.layers or not all(
            type(width) is int and 0 <= width < 1 << 31 for width in widths
        ):
            raise self.bad_config(
                msg("{key} is no list of {layers}", key="intermediate_size", layers=self.layers)
            )
        self.i32s("feed_forward_length", widths)

    def _gating(self) -> None:
        """How a router's numbers become the experts' shares, where the config says it."""
        for key in _GATING_KEYS:
            if (kind := self.config.get(key)) is not None:
                if not isinstance(kind, str) or kind not in GATING:
                    raise self.bad_config(msg("{key} is {kind!r}", key=key, kind=str(kind)[:50]))
                self.u32("expert_gating_func", GATING[kind])
                return

    def file_type(self) -> None:
        """The type that loses nothing; a family whose converter leaves it out does not call it."""
        lossless = LOSSLESS.get(self.checkpoint.dtype, QuantType.F32)
        self.fields.u32("general.file_type", lossless.file_type)

    def vocabulary(self, files: TokenizerFiles) -> None:
        """Write the `tokenizer.*` fields; byte-level BPE unless a family says otherwise."""
        self._warn(write_byte_level(files, self.fields))

    def extra_tensors(self) -> Iterator[TensorSource]:
        """Tensors that are computed rather than taken from the checkpoint."""
        yield from ()

    # -- checks ------------------------------------------------------------------------------------

    def _refuse_twins(self, tensors: tuple[TensorSource, ...]) -> None:
        seen: set[str] = set()
        for tensor in tensors:
            if tensor.name in seen:
                raise BadFileError(
                    self.checkpoint.root, msg("two tensors would become {name!r}", name=tensor.name)
                )
            seen.add(tensor.name)

    def _refuse_missing(self, tensors: tuple[TensorSource, ...]) -> None:
        present = {tensor.name: tensor for tensor in tensors}
        for name in (*self.names.values(), *self.experts.values()):
            layers = range(self.layers) if "{i}" in name else range(1)
            for i in layers:
                wanted = name.replace("{i}", str(i)) + ".weight"
                spared = name in self.optional or self.lacks(name, i)
                if not spared and wanted not in present:
                    raise BadFileError(
                        self.checkpoint.root,
                        msg(
                            "the checkpoint is not whole: nothing in it becomes {wanted}",
                            wanted=wanted,
                        ),
                        hint=msg("pull the model again"),
                    )
        if "output" in self.names.values() and "output.weight" not in present:
            self._refuse_missing_output()
        rows, size = present["token_embd.weight"].rows, self.integer("vocab_size")
        if rows != size:
            raise self.bad_config(
                msg(
                    "vocab_size is {size:,}, but the embeddings have {rows:,} rows",
                    size=size,
                    rows=rows,
                ),
                hint=msg(
                    "if tokens were added and the embeddings resized, set vocab_size to {rows};"
                    " else pull the model again",
                    rows=rows,
                ),
            )

    def _refuse_missing_output(self) -> None:
        """Embeddings stand for the output only where the config says so; embedders have none."""
        speaks = self.checkpoint.architecture.endswith(_SPEAKERS)
        untied = self.config.get("tie_word_embeddings") is False
        if speaks and untied and pooling_type(self.checkpoint.root) is None:
            raise BadFileError(
                self.checkpoint.root,
                msg(
                    "the checkpoint is not whole: nothing in it becomes output.weight, and its"
                    " config.json says that the embeddings do not stand for it"
                ),
                hint=msg(
                    "pull the model again; if it is tied all the same, set tie_word_embeddings"
                    " to true in config.json"
                ),
            )

    def _refuse_wrong_shapes(self, tensors: tuple[TensorSource, ...]) -> None:
        """llama.cpp would not load the file, which it would be too late to learn then."""
        metadata = {key: field.value for key, field in self.fields}
        for wrong in wrong_shapes(metadata, tensors):
            path, name = self.checkpoint.root, wrong.name
            if origin := self.origins.get(wrong.name):
                path, name = origin.path, origin.info.name[:200]
            raise BadFileError(
                path,
                msg(
                    "tensor {name!r} makes {name2} {as_stored}, but by config.json it is"
                    " {as_stored2}",
                    name=name,
                    name2=wrong.name,
                    as_stored=_as_stored(wrong.shape),
                    as_stored2=_as_stored(wrong.expected),
                ),
                hint=msg("the config.json may be of another model; pull the model again"),
            )


def _as_stored(shape: tuple[int, ...]) -> list[int]:
    """The slowest dimension first, as checkpoints have it."""
    return list(reversed(shape))


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
