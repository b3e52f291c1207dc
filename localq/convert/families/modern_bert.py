"""ModernBERT and NeoBERT: encoders with rotary positions, norms before, and no biases.

References: llama.cpp `conversion/bert.py`; transformers `models/modernbert`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from localq.convert.checkpoint import Checkpoint
from localq.convert.families.bert import Bert
from localq.convert.families.decoder import TensorNames
from localq.convert.vocabulary.byte_level import write_byte_level
from localq.convert.vocabulary.files import TokenizerFiles
from localq.errors import UnsupportedError
from localq.messages import msg

__all__ = ["ModernBert", "NeoBert"]

_CLS = 2
"""GGUF's number for pooling by the first token."""
_POOLINGS: Mapping[str, int] = {"mean": 1, "cls": _CLS}


class ModernBert(Bert):
    """Two layers of three see only a window, and turn by a base of their own."""

    architecture = "modern-bert"
    names: ClassVar[TensorNames] = {
        "embeddings.tok_embeddings": "token_embd",
        "embeddings.norm": "token_embd_norm",
        "final_norm": "output_norm",
        "layers.{i}.attn_norm": "blk.{i}.attn_norm",
        "layers.{i}.attn.Wqkv": "blk.{i}.attn_qkv",
        "layers.{i}.attn.Wo": "blk.{i}.attn_output",
        "layers.{i}.mlp_norm": "blk.{i}.ffn_norm",
        "layers.{i}.mlp.Wi": "blk.{i}.ffn_up",
        "layers.{i}.mlp.Wo": "blk.{i}.ffn_down",
        "head.dense": "cls",
        "head.norm": "cls.norm",
        "classifier.out_proj": "cls.output",
    }
    optional: ClassVar[frozenset[str]] = frozenset({"cls", "cls.norm", "cls.output"})
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 50368,
        "hidden_size": 768,
        "intermediate_size": 1152,
        "num_hidden_layers": 22,
        "num_attention_heads": 12,
        "max_position_embeddings": 8192,
        "norm_eps": 1e-5,
        "hidden_activation": "gelu",
        "global_rope_theta": 160000.0,
        "global_attn_every_n_layers": 3,
        "local_attention": 128,
        "local_rope_theta": 10000.0,
        "classifier_pooling": "cls",
    }
    prefix: ClassVar[str] = "model."
    unwanted: ClassVar[tuple[str, ...]] = ("decoder.",)

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        for key, own in (
            ("rope_theta", "global_rope_theta"),
            ("rope_local_base_freq", "local_rope_theta"),
        ):
            if self.config.get(own) is not None:
                self.config[key] = self.number(self.config, own)

    def lacks(self, gguf_name: str, layer: int) -> bool:
        return gguf_name.endswith(".attn_norm") and layer == 0

    def hyperparameters(self) -> None:
        super().hyperparameters()
        self.u32("attention.sliding_window", self.integer("local_attention"))
        self._u32_from("attention.sliding_window_pattern", "global_attn_every_n_layers")
        self.text("rope.scaling.type", "none")
        self.u32("vocab_size", self.integer("vocab_size"))
        self.text("hidden_activation", str(self.config.get("hidden_activation") or "")[:100])

    def before_labels(self) -> None:
        pooling = self.config.get("classifier_pooling")
        if pooling is None:
            return
        if not isinstance(pooling, str) or pooling not in _POOLINGS:
            raise UnsupportedError(
                msg(
                    "{path}: llama.cpp pools by mean, first or last token only",
                    path=self.checkpoint.root / "config.json",
                ),
                hint=msg("take another model"),
            )
        self.u32("classifier.pooling_type", _POOLINGS[pooling])

    def vocabulary(self, files: TokenizerFiles) -> None:
        for kind in ("bos", "eos", "sep"):
            self.fields.boolean(f"tokenizer.ggml.add_{kind}_token", True)
        self._warn(write_byte_level(files, self.fields))


class NeoBert(Bert):
    architecture = "neo-bert"
    names: ClassVar[TensorNames] = {
        "encoder": "token_embd",
        "layer_norm": "enc.output_norm",
        "transformer_encoder.{i}.attention_norm": "blk.{i}.attn_norm",
        "transformer_encoder.{i}.qkv": "blk.{i}.attn_qkv",
        "transformer_encoder.{i}.wo": "blk.{i}.attn_output",
        "transformer_encoder.{i}.ffn_norm": "blk.{i}.ffn_norm",
        "transformer_encoder.{i}.ffn.w12": "blk.{i}.ffn_up",
        "transformer_encoder.{i}.ffn.w3": "blk.{i}.ffn_down",
        "dense": "cls",
        "classifier": "cls",
        "classifier.out_proj": "cls.output",
    }
    optional: ClassVar[frozenset[str]] = frozenset({"cls", "cls.output"})
    config_defaults: ClassVar[Mapping[str, Any]] = {"vocab_size": 30522}
    prefix: ClassVar[str] = "model."
    unwanted: ClassVar[tuple[str, ...]] = ("decoder.",)

    def hyperparameters(self) -> None:
        super().hyperparameters()
        self.u32("feed_forward_length", 2 * self.integer("intermediate_size") // 3)
        self.f32("rope.freq_base", 10000.0)
        self.text("rope.scaling.type", "none")
        self.f32("attention.layer_norm_rms_epsilon", self.number(self.config, "norm_eps", 1e-6))
        self.u32("pooling_type", _CLS)
