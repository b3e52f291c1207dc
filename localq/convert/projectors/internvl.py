"""InternVL: a vision transformer whose neighbouring patches are put beside one another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from localq.convert.families.mapping import TensorNames
from localq.convert.projectors.projector import Projector
from localq.convert.source_tensor import SourceTensor
from localq.formats.rows import TensorSource
from localq.messages import msg

__all__ = ["InternVlProjector"]

_ROOT = "vision_model."
_BLOCK = f"{_ROOT}encoder.layers.{{i}}."
_WITHOUT_SUFFIX = (
    *(".ls1", ".ls2", ".lambda_1", ".lambda_2"),
    *(".position_embedding", ".position_embeddings"),
)
_TOWER = "vision_tower."
_TOWER_BLOCK = f"{_TOWER}encoder.layer.{{i}}."
_AS_TRANSFORMERS_HAS_IT: TensorNames = {
    f"{_TOWER}embeddings.patch_embeddings.projection": "v.patch_embd",
    f"{_TOWER}embeddings.position_embeddings": "v.position_embd",
    f"{_TOWER_BLOCK}layernorm_before": "v.blk.{i}.ln1",
    f"{_TOWER_BLOCK}layernorm_after": "v.blk.{i}.ln2",
    f"{_TOWER_BLOCK}lambda_1": "v.blk.{i}.ls1",
    f"{_TOWER_BLOCK}lambda_2": "v.blk.{i}.ls2",
    f"{_TOWER_BLOCK}attention.q_proj": "v.blk.{i}.attn_q",
    f"{_TOWER_BLOCK}attention.k_proj": "v.blk.{i}.attn_k",
    f"{_TOWER_BLOCK}attention.v_proj": "v.blk.{i}.attn_v",
    f"{_TOWER_BLOCK}attention.projection_layer": "v.blk.{i}.attn_out",
    f"{_TOWER_BLOCK}attention.q_norm": "v.blk.{i}.attn_q_norm",
    f"{_TOWER_BLOCK}attention.k_norm": "v.blk.{i}.attn_k_norm",
    f"{_TOWER_BLOCK}mlp.fc1": "v.blk.{i}.ffn_up",
    f"{_TOWER_BLOCK}mlp.fc2": "v.blk.{i}.ffn_down",
    "multi_modal_projector.layer_norm": "mm.model.mlp.0",
    "multi_modal_projector.linear_1": "mm.model.mlp.1",
    "multi_modal_projector.linear_2": "mm.model.mlp.3",
}
"""InternVL and Intern-S1 saved by transformers itself."""


class InternVlProjector(Projector):
    kind = "internvl"
    parts = (_ROOT, "mlp1.", _TOWER, "multi_modal_projector.")
    names: ClassVar[TensorNames] = {
        f"{_ROOT}embeddings.patch_embedding": "v.patch_embd",
        f"{_ROOT}embeddings.position_embedding": "v.position_embd",
        f"{_BLOCK}norm1": "v.blk.{i}.ln1",
        f"{_BLOCK}norm2": "v.blk.{i}.ln2",
        f"{_BLOCK}ls1": "v.blk.{i}.ls1",
        f"{_BLOCK}ls2": "v.blk.{i}.ls2",
        f"{_BLOCK}attn.q": "v.blk.{i}.attn_q",
        f"{_BLOCK}attn.k": "v.blk.{i}.attn_k",
        f"{_BLOCK}attn.v": "v.blk.{i}.attn_v",
        f"{_BLOCK}attn.proj": "v.blk.{i}.attn_out",
        f"{_BLOCK}attn.q_norm": "v.blk.{i}.attn_q_norm",
        f"{_BLOCK}attn.k_norm": "v.blk.{i}.attn_k_norm",
        f"{_BLOCK}mlp.fc1": "v.blk.{i}.ffn_up",
        f"{_BLOCK}mlp.fc2": "v.blk.{i}.ffn_down",
        "mlp1.0": "mm.model.mlp.0",
        "mlp1.1": "mm.model.mlp.1",
        "mlp1.3": "mm.model.mlp.3",
        **_AS_TRANSFORMERS_HAS_IT,
    }
    exact: ClassVar[TensorNames] = {
        f"{_ROOT}embeddings.class_embedding": "v.class_embd",
        f"{_TOWER}embeddings.cls_token": "v.class_embd",
    }
    optional: ClassVar[frozenset[str]] = frozenset(
        {"v.blk.{i}.attn_q_norm", "v.blk.{i}.attn_k_norm"}
    )
    config_defaults: ClassVar[Mapping[str, Any]] = {"layer_norm_eps": 1e-6}

    @property
    def image_size(self) -> int:
        return self._side("image_size")

    @property
    def patch_size(self) -> int:
        return self._side("patch_size")

    def _side(self, key: str) -> int:
        """A number, or one for the height and one for the width."""
        value = self.config.get(key)
        if isinstance(value, list) and value:
            value = value[0]
        if type(value) is not int or not 0 < value < 1 << 31:
            raise self.bad_config(msg("{key} is {value!r}", key=key, value=str(value)[:100]))
        return value

    def hyperparameters(self) -> None:
        super().hyperparameters()
        self.text("projector_type", self.kind)
        self.epsilon(self.number(self.config, "layer_norm_eps"))
        self.activation()
        whole = self.checkpoint.config
        ratio = self.number(whole, "downsample_ratio")
        if not 1e-3 < ratio <= 1:
            raise self.bad_config(
                msg("{key} is {value!r}", key="downsample_ratio", value=str(ratio)[:100])
            )
        self.u32("vision.projector.scale_factor", int(1.0 / ratio))
        for key, field in (
            ("min_dynamic_patch", "vision.preproc_min_tiles"),
            ("max_dynamic_patch", "vision.preproc_max_tiles"),
        ):
            if (tiles := int(self.number(whole, key, 0.0))) > 0:
                self.u32(field, tiles)

    def renamed(self, name: str) -> str:
        return f"{name}.weight" if name.endswith(_WITHOUT_SUFFIX) else name

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        if ".attn.qkv." in name:
            parts = [self.gguf_name(name.replace("qkv", part), source) for part in "qkv"]
            yield from self.thirds(name, source, parts)
        else:
            yield self.tensor(name, source)
