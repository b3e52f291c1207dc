"""InternLM2 and 2.5.

Reference: llama.cpp `conversion/internlm.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from localq.convert.families.decoder import Decoder, TensorNames
from localq.convert.fields import FieldBuilder
from localq.convert.source_tensor import SourceTensor
from localq.convert.vocabulary.files import TokenizerFiles
from localq.convert.vocabulary.sentencepiece import adds_space, write_sentencepiece
from localq.convert.vocabulary.token import TokenType
from localq.errors import BadFileError, NotFoundError
from localq.formats.rows import TensorSource
from localq.messages import msg

__all__ = ["InternLm2"]

_TURN_END = "<|im_end|>"


class InternLm2(Decoder):
    architecture = "internlm2"
    names: ClassVar[TensorNames] = {
        "model.tok_embeddings": "token_embd",
        "model.norm": "output_norm",
        "output": "output",
        "model.layers.{i}.attention_norm": "blk.{i}.attn_norm",
        # Parts of the fused `wqkv`.
        "model.layers.{i}.attention.wq": "blk.{i}.attn_q",
        "model.layers.{i}.attention.wk": "blk.{i}.attn_k",
        "model.layers.{i}.attention.wv": "blk.{i}.attn_v",
        "model.layers.{i}.attention.wo": "blk.{i}.attn_output",
        "model.layers.{i}.ffn_norm": "blk.{i}.ffn_norm",
        "model.layers.{i}.feed_forward.w1": "blk.{i}.ffn_gate",
        "model.layers.{i}.feed_forward.w2": "blk.{i}.ffn_down",
        "model.layers.{i}.feed_forward.w3": "blk.{i}.ffn_up",
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 103168,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000,
    }

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        if not name.endswith(".attention.wqkv.weight"):
            yield from super().tensors_of(name, source)
            return
        fused = self.piece(name, source)
        q, k, v = self.split_qkv(name, fused.rows, self.heads, self.kv_heads)
        q = q[self.rotary_rows(name, len(q), self.heads)]
        k = k[self.rotary_rows(name, len(k), self.kv_heads)]
        for part, order in (("wq", q), ("wk", k), ("wv", v)):
            piece = replace(fused, order=order)
            gguf_name = self.gguf_name(name.replace("wqkv", part), source)
            yield self.source_of(gguf_name, (piece.rows, piece.columns), [piece])

    def vocabulary(self, files: TokenizerFiles) -> None:
        if not files.sentencepiece_path.is_file():
            raise NotFoundError(
                msg("{root}: no tokenizer.model in it", root=files.root), hint=msg("pull it again")
            )
        found = FieldBuilder()
        self._warn(write_sentencepiece(files, found))
        tokens, types = found.get("tokenizer.ggml.tokens"), found.get("tokenizer.ggml.token_type")
        if not (isinstance(tokens, list) and isinstance(types, list)):
            raise BadFileError(files.sentencepiece_path, msg("has no tokens"))
        # An empty text would end llama.cpp's reading of the vocabulary.
        found.strings(
            "tokenizer.ggml.tokens", ["🐉" if text == "\0" else str(text) for text in tokens]
        )
        kinds = [
            TokenType.UNUSED if str(text).startswith("[UNUSED") else TokenType(int(str(kind)))
            for text, kind in zip(tokens, types, strict=True)
        ]
        found.i32s("tokenizer.ggml.token_type", kinds)
        for key, field in found:
            self.fields.field(key, field)
            if key == "tokenizer.ggml.token_type":
                self.fields.boolean("tokenizer.ggml.add_space_prefix", adds_space(files))
        if _TURN_END in tokens:
            # A chat ends with its turn, which the published checkpoints do not say.
            self.fields.u32("tokenizer.ggml.eos_token_id", tokens.index(_TURN_END))
