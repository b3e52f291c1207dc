"""Pixtral, Mistral Small 3.1 and later: pictures of any size, a token at the end of each row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from localq.convert.families.mapping import TensorNames
from localq.convert.projectors.projector import Projector
from localq.convert.source_tensor import SourceTensor
from localq.errors import BadFileError, UnsupportedError
from localq.formats.json_file import read_json_object
from localq.formats.presence import is_there
from localq.formats.rows import TensorSource
from localq.messages import msg

__all__ = ["PixtralProjector"]

_BLOCK = "vision_tower.transformer.layers.{i}."
_BREAK = "[IMG_BREAK]"


class PixtralProjector(Projector):
    kind = "pixtral"
    parts = ("multi_modal_projector.", "vision_tower.")
    names: ClassVar[TensorNames] = {
        "vision_tower.patch_conv": "v.patch_embd",
        "vision_tower.ln_pre": "v.pre_ln",
        f"{_BLOCK}attention_norm": "v.blk.{i}.ln1",
        f"{_BLOCK}ffn_norm": "v.blk.{i}.ln2",
        f"{_BLOCK}attention.q_proj": "v.blk.{i}.attn_q",
        f"{_BLOCK}attention.k_proj": "v.blk.{i}.attn_k",
        f"{_BLOCK}attention.v_proj": "v.blk.{i}.attn_v",
        f"{_BLOCK}attention.o_proj": "v.blk.{i}.attn_out",
        f"{_BLOCK}feed_forward.gate_proj": "v.blk.{i}.ffn_gate",
        f"{_BLOCK}feed_forward.up_proj": "v.blk.{i}.ffn_up",
        f"{_BLOCK}feed_forward.down_proj": "v.blk.{i}.ffn_down",
        "multi_modal_projector.norm": "mm.input_norm",
        "multi_modal_projector.linear_1": "mm.1",
        "multi_modal_projector.linear_2": "mm.2",
        "multi_modal_projector.patch_merger.merging_layer": "mm.patch_merger",
    }
    optional: ClassVar[frozenset[str]] = frozenset({"mm.input_norm", "mm.patch_merger"})
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "hidden_act": "gelu",
        "hidden_size": 1024,
        "image_size": 1024,
        "intermediate_size": 4096,
        "layer_norm_eps": 1e-5,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "patch_size": 16,
    }
    text_defaults: ClassVar[Mapping[str, Any]] = {"hidden_size": 4096}

    def own_part(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        part = super().own_part(config)
        if (kind := part.get("model_type")) != "pixtral":
            raise UnsupportedError(
                msg(
                    "{root}: neither localq nor llama.cpp can convert a projector of the kind"
                    " {kind!r}",
                    root=self.checkpoint.root,
                    kind=str(kind)[:50],
                ),
                hint=msg("take a newer model that sees pictures, or a GGUF of this one"),
            )
        return part

    def hyperparameters(self) -> None:
        super().hyperparameters()
        self.text("projector_type", self.kind)
        self.epsilon(self.number(self.config, "layer_norm_eps"))
        self.activation()
        if self.checkpoint.config.get("spatial_merge_size") is not None:
            self.u32("vision.spatial_merge_size", self._merged)

    @property
    def _merged(self) -> int:
        """How many patches become one, along one side."""
        size = self.checkpoint.config["spatial_merge_size"]
        if type(size) is not int or not 0 < size < 1 << 16:
            raise self.bad_config(
                msg("{key} is {value!r}", key="spatial_merge_size", value=str(size)[:100])
            )
        return size

    def takes(self, name: str) -> bool:
        return super().takes(name) or name.endswith("embed_tokens.weight")

    def row_order(self, name: str, rows: int) -> npt.NDArray[np.intp] | None:
        if (name.startswith("vision_tower.") and ".q_proj." in name) or ".k_proj." in name:
            return self.rotary_rows(name, rows, self.heads)
        return None

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        if name.endswith("embed_tokens.weight"):
            yield self._row_end(name, source)
        else:
            yield self.tensor(name, source)

    def _row_end(self, name: str, source: SourceTensor) -> TensorSource:
        """The language model's vector for the end of a row of patches."""
        token = _token_id(self.checkpoint.root, _BREAK)
        piece = self.piece(name, source)
        if len(source.info.shape) != 2 or token >= piece.rows:
            raise self._bad_shape(name, source)
        width = source.info.shape[1]
        return self.source_of("v.token_embd.img_break", (width,), [piece.part(token, 1)])


def _token_id(root: Any, text: str) -> int:
    """The id of an added token; BadFileError where the tokenizer has none such."""
    found: object = None
    if is_there(root / "tokenizer_config.json"):
        added = read_json_object(root / "tokenizer_config.json").get("added_tokens_decoder")
        for number, token in (added if isinstance(added, dict) else {}).items():
            if isinstance(token, dict) and token.get("content") == text and number.isdecimal():
                found = found if found is not None else int(number)
    if found is None and is_there(root / "tokenizer.json"):
        more = read_json_object(root / "tokenizer.json").get("added_tokens")
        for token in more if isinstance(more, list) else ():
            if isinstance(token, dict) and token.get("content") == text:
                found = token.get("id")
                break
    if type(found) is not int or not 0 <= found < 1 << 31:
        raise BadFileError(
            root / "tokenizer.json",
            msg("has no token {text!r}, which ends the rows of a picture", text=text),
            hint=msg("pull the model again"),
        )
    return found
