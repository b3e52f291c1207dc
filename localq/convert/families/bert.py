"""Encoders whose vectors stand for texts: BERT, RoBERTa, XLM-RoBERTa, DistilBERT, Jina v2, Nomic.

Most published embedders are one of them: BGE, E5, GTE, MiniLM, Snowflake Arctic.
References: llama.cpp `conversion/bert.py`; transformers `models/bert` and its kin.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from localq.convert.checkpoint import Checkpoint
from localq.convert.families.decoder import Decoder, TensorNames
from localq.convert.families.pooling import pooling_type
from localq.convert.source_tensor import SourceTensor
from localq.convert.vocabulary.choose import write_vocabulary
from localq.convert.vocabulary.files import TokenizerFiles
from localq.convert.vocabulary.unigram import write_unigram
from localq.convert.vocabulary.wordpiece import write_wordpiece
from localq.errors import UnsupportedError
from localq.formats.rows import FilePiece, TensorSource
from localq.messages import msg

__all__ = ["Bert", "DistilBert", "JinaBert", "NomicBert", "Roberta"]

_TOKEN_TYPES = "tokenizer.ggml.token_type_count"
_HEADS: TensorNames = {
    "classifier": "cls",
    "classifier.dense": "cls",
    "classifier.out_proj": "cls.output",
    "pre_classifier": "cls",
}


class Bert(Decoder):
    architecture = "bert"
    names: ClassVar[TensorNames] = {
        "embeddings.word_embeddings": "token_embd",
        "embeddings.position_embeddings": "position_embd",
        "embeddings.token_type_embeddings": "token_types",
        "embeddings.LayerNorm": "token_embd_norm",
        "encoder.layer.{i}.attention.self.query": "blk.{i}.attn_q",
        "encoder.layer.{i}.attention.self.key": "blk.{i}.attn_k",
        "encoder.layer.{i}.attention.self.value": "blk.{i}.attn_v",
        "encoder.layer.{i}.attention.output.dense": "blk.{i}.attn_output",
        "encoder.layer.{i}.attention.output.LayerNorm": "blk.{i}.attn_output_norm",
        "encoder.layer.{i}.intermediate.dense": "blk.{i}.ffn_up",
        "encoder.layer.{i}.output.dense": "blk.{i}.ffn_down",
        "encoder.layer.{i}.output.LayerNorm": "blk.{i}.layer_output_norm",
        **_HEADS,
    }
    optional: ClassVar[frozenset[str]] = frozenset({"token_types", "cls", "cls.output"})
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
    }
    prefix: ClassVar[str] = "bert."
    """Of tensors in checkpoints made for more than vectors."""
    unwanted: ClassVar[tuple[str, ...]] = (
        "embeddings.position_ids",
        "pooler.dense.",
        "cls.predictions",
        "cls.seq_relationship",
    )

    def hyperparameters(self) -> None:
        super().hyperparameters()
        self.flag("attention.causal", False)
        if (pooling := pooling_type(self.checkpoint.root)) is not None:
            self.u32("pooling_type", pooling)
        self.before_labels()
        if labels := self._labels():
            self.fields.strings(f"{self.architecture}.classifier.output_labels", labels)

    def before_labels(self) -> None:
        """Fields between the pooling and a classifier's labels."""

    def vocabulary(self, files: TokenizerFiles) -> None:
        count = self.config.get("type_vocab_size", 1)
        if type(count) is not int or not 0 <= count < 1 << 31:
            raise self.bad_config(msg("type_vocab_size is {count!r}", count=str(count)[:100]))
        kind = _tokenizer_kind(files)
        if kind == "Unigram":
            self._warn(write_unigram(files, self.fields, token_types=(_TOKEN_TYPES, count)))
        elif kind == "WordPiece":
            self.fields.u32(_TOKEN_TYPES, count)
            self._warn(write_wordpiece(files, self.fields))
        else:
            self._warn(write_vocabulary(files, self.fields))
            self.fields.u32(_TOKEN_TYPES, count)

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        name = name.removeprefix(self.prefix)
        for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
            if name.endswith(old):
                name = name.removesuffix(old) + new
        if name.startswith(self.unwanted):
            return
        if self._labels() and name.startswith("classifier.") and name.count(".") == 1:
            name = name.replace("classifier.", "classifier.out_proj.")
        yield from super().tensors_of(name, source)

    def _labels(self) -> list[str]:
        """What a classifier answers, in the order of its outputs."""
        labels = self.config.get("id2label") or {}
        if not isinstance(labels, dict) or not all(
            key.isdecimal() and len(key) < 10 and isinstance(text, str)
            for key, text in labels.items()
        ):
            raise self.bad_config(msg("id2label does not map numbers to names"))
        if len(labels) == 2 and labels.get("0") == "LABEL_0":
            return []  # what transformers writes where nobody named anything
        return [labels[key] for key in sorted(labels, key=int)]


class Roberta(Bert):
    """RoBERTa and XLM-RoBERTa: positions are counted from after the padding token's."""

    config_defaults: ClassVar[Mapping[str, Any]] = {
        **Bert.config_defaults,
        "vocab_size": 50265,
        "pad_token_id": 1,
    }
    prefix: ClassVar[str] = "roberta."
    unwanted: ClassVar[tuple[str, ...]] = (*Bert.unwanted, "lm_head.")

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        padding = self.config.get("pad_token_id")
        positions = self.integer("max_position_embeddings")
        self.skipped_positions = 0
        if padding is not None:
            if type(padding) is not int or not 0 <= padding < positions - 1:
                raise self.bad_config(
                    msg("pad_token_id is {padding!r}", padding=str(padding)[:100])
                )
            self.skipped_positions = padding + 1
            self.config["max_position_embeddings"] = positions - padding - 1

    def tensor(self, name: str, source: SourceTensor) -> TensorSource:
        if name != "embeddings.position_embeddings.weight" or not self.skipped_positions:
            return super().tensor(name, source)
        piece = self.piece(name, source)
        rows = piece.rows - self.skipped_positions
        if rows != self.integer("max_position_embeddings"):
            raise self.bad_config(msg("max_position_embeddings does not fit {name}", name=name))
        row_bytes = source.info.nbytes // piece.file_rows
        start = piece.offset + self.skipped_positions * row_bytes
        kept: FilePiece = replace(piece, offset=start, file_rows=rows)
        return self.source_of(self.gguf_name(name, source), (rows, piece.columns), [kept])


class DistilBert(Bert):
    names: ClassVar[TensorNames] = {
        "embeddings.word_embeddings": "token_embd",
        "embeddings.position_embeddings": "position_embd",
        "embeddings.LayerNorm": "token_embd_norm",
        "transformer.layer.{i}.attention.q_lin": "blk.{i}.attn_q",
        "transformer.layer.{i}.attention.k_lin": "blk.{i}.attn_k",
        "transformer.layer.{i}.attention.v_lin": "blk.{i}.attn_v",
        "transformer.layer.{i}.attention.out_lin": "blk.{i}.attn_output",
        "transformer.layer.{i}.sa_layer_norm": "blk.{i}.attn_output_norm",
        "transformer.layer.{i}.ffn.lin1": "blk.{i}.ffn_up",
        "transformer.layer.{i}.ffn.lin2": "blk.{i}.ffn_down",
        "transformer.layer.{i}.output_layer_norm": "blk.{i}.layer_output_norm",
        **_HEADS,
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {"vocab_size": 30522}
    prefix: ClassVar[str] = "distilbert."
    unwanted: ClassVar[tuple[str, ...]] = (*Bert.unwanted, "vocab_")

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        for key, own in (
            ("hidden_size", "dim"),
            ("intermediate_size", "hidden_dim"),
            ("num_attention_heads", "n_heads"),
        ):
            self.config[key] = self.integer(own, key)

    def hyperparameters(self) -> None:
        self.f32("attention.layer_norm_epsilon", 1e-12)
        super().hyperparameters()


class JinaBert(Bert):
    """Jina Embeddings v2: distances instead of positions, gate and way up in one matrix."""

    architecture = "jina-bert-v2"
    names: ClassVar[TensorNames] = {
        **{
            name: made
            for name, made in Bert.names.items()
            if ".intermediate." not in name
            and not name.startswith("encoder.layer.{i}.output.")
            and made != "position_embd"
        },
        "encoder.layer.{i}.attention.self.layer_norm_q": "blk.{i}.attn_q_norm",
        "encoder.layer.{i}.attention.self.layer_norm_k": "blk.{i}.attn_k_norm",
        "encoder.layer.{i}.layer_norm_1": "blk.{i}.attn_norm_2",
        "encoder.layer.{i}.layer_norm_2": "blk.{i}.layer_output_norm",
        "encoder.layer.{i}.mlp.gated_layers": "blk.{i}.ffn_up",
        "encoder.layer.{i}.mlp.up_gated_layer": "blk.{i}.ffn_up",
        "encoder.layer.{i}.mlp.wo": "blk.{i}.ffn_down",
        "encoder.layer.{i}.mlp.down_layer": "blk.{i}.ffn_down",
        "encoder.layer.{i}.mlp.layernorm": "blk.{i}.layer_output_norm",
    }
    optional: ClassVar[frozenset[str]] = Bert.optional | {
        "blk.{i}.attn_q_norm",
        "blk.{i}.attn_k_norm",
        "blk.{i}.attn_norm_2",
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        **Bert.config_defaults,
        "max_position_embeddings": 8192,
    }


class NomicBert(Bert):
    """Rotary positions and a gated feed-forward network, without biases."""

    architecture = "nomic-bert"
    names: ClassVar[TensorNames] = {
        "embeddings.word_embeddings": "token_embd",
        "embeddings.token_type_embeddings": "token_types",
        "emb_ln": "token_embd_norm",
        "encoder.layers.{i}.attn.Wqkv": "blk.{i}.attn_qkv",
        "encoder.layers.{i}.attn.out_proj": "blk.{i}.attn_output",
        "encoder.layers.{i}.norm1": "blk.{i}.attn_output_norm",
        "encoder.layers.{i}.mlp.fc11": "blk.{i}.ffn_up",
        "encoder.layers.{i}.mlp.fc12": "blk.{i}.ffn_gate",
        "encoder.layers.{i}.mlp.fc2": "blk.{i}.ffn_down",
        "encoder.layers.{i}.norm2": "blk.{i}.layer_output_norm",
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {}
    _REQUIRED: ClassVar[Mapping[str, Any]] = {
        "activation_function": "swiglu",
        "causal": False,
        "qkv_proj_bias": False,
        "mlp_fc1_bias": False,
        "mlp_fc2_bias": False,
        "prenorm": False,
        "rotary_emb_fraction": 1.0,
        "rotary_emb_interleaved": False,
        "rotary_emb_scale_base": None,
    }

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        for key, value in self._REQUIRED.items():
            if self.config.get(key) != value or self.config.get("moe_every_n_layers"):
                raise UnsupportedError(
                    msg(
                        "{root}: llama.cpp knows Nomic's BERT with {key} = {value} only, and localq"
                        " none with experts",
                        root=checkpoint.root,
                        key=key,
                        value=value,
                    ),
                    hint=msg("take another model"),
                )
        self.config.setdefault("rope_theta", self.number(self.config, "rotary_emb_base", 10000))
        trained = self.config.get("max_trained_positions", 2048)
        if trained == 2048 and self.config.get("n_positions") == 8192:
            self.config["n_positions"] = 2048  # beyond that it was never trained


def _tokenizer_kind(files: TokenizerFiles) -> object:
    model = (files.tokenizer_json or {}).get("model")
    return model.get("type") if isinstance(model, dict) else None
