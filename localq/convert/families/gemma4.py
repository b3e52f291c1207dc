"""Gemma 4, what reads text: layers that see all and layers that see a window differ in their heads;
some models have experts beside the usual network, or a vector for each layer beside every token.

References: llama.cpp `conversion/gemma.py`; transformers `models/gemma4`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from localq.convert.families.decoder import TensorNames
from localq.convert.families.gemma import Gemma3
from localq.convert.families.gemma3n import PER_LAYER_INPUT
from localq.convert.source_tensor import SourceTensor
from localq.convert.vocabulary.files import TokenizerFiles
from localq.convert.vocabulary.gemma4 import write_gemma4
from localq.formats.rows import TensorSource, Transform
from localq.messages import msg

__all__ = ["Gemma4"]

_LAYER = "model.layers.{i}"
_NEVER = 1e30
"""Divides a frequency by so much that nothing turns."""


class Gemma4(Gemma3):
    architecture = "gemma4"
    names: ClassVar[TensorNames] = {
        **Gemma3.names,
        **PER_LAYER_INPUT,
        f"{_LAYER}.router.proj": "blk.{i}.ffn_gate_inp",
        f"{_LAYER}.pre_feedforward_layernorm_2": "blk.{i}.pre_ffw_norm_2",
        f"{_LAYER}.post_feedforward_layernorm_1": "blk.{i}.post_ffw_norm_1",
        f"{_LAYER}.post_feedforward_layernorm_2": "blk.{i}.post_ffw_norm_2",
    }
    exact: ClassVar[TensorNames] = {
        f"{_LAYER}.layer_scalar": "blk.{i}.layer_output_scale.weight",
        f"{_LAYER}.router.scale": "blk.{i}.ffn_gate_inp.scale",
        f"{_LAYER}.router.per_expert_scale": "blk.{i}.ffn_down_exps.scale",
        f"{_LAYER}.experts.gate_up_proj": "blk.{i}.ffn_gate_up_exps.weight",
        f"{_LAYER}.experts.down_proj": "blk.{i}.ffn_down_exps.weight",
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 262144,
        "head_dim": 256,
        "global_head_dim": 512,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-6,
        "sliding_window": 512,
        "num_kv_shared_layers": 0,
        "hidden_size_per_layer_input": 256,
    }

    def lacks(self, gguf_name: str, layer: int) -> bool:
        kind = gguf_name.rpartition("blk.{i}.")[2]
        if gguf_name in PER_LAYER_INPUT.values():
            return not self.count("hidden_size_per_layer_input")
        if kind in ("attn_k", "attn_v", "attn_k_norm"):
            shared = layer >= self.layers - self.count("num_kv_shared_layers")
            alike = kind == "attn_v" and self.config.get("attention_k_eq_v")
            return shared or (bool(alike) and not self._sees_window[layer])
        experts = ("ffn_gate_inp", "pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2")
        return kind in experts and not self.config.get("enable_moe_block")

    @property
    def _sees_window(self) -> list[bool]:
        kinds = self.config.get("layer_types")
        if not isinstance(kinds, list) or len(kinds) != self.layers:
            raise self.bad_config(msg("layer_types is no list of {layers}", layers=self.layers))
        return [kind == "sliding_attention" for kind in kinds]

    def _of_whole_layers(self, key: str, own: str) -> int | None:
        """A setting of the layers that see all, None where nothing says it."""
        if self.config.get(key) is not None:
            return self.integer(key)
        layers = self.config.get("per_layer_config")
        for layer, settings in layers.items() if isinstance(layers, dict) else ():
            number = int(layer) if layer.isdecimal() and len(layer) < 5 else self.layers
            whole = number < self.layers and not self._sees_window[number]
            if whole and isinstance(settings, dict) and own in settings:
                return self.integer_of(settings, own)
        return None

    def integer_of(self, settings: Mapping[str, Any], key: str) -> int:
        value = settings.get(key)
        if type(value) is not int or not 0 < value < 1 << 31:
            raise self.bad_config(msg("{key} is {value!r}", key=key, value=str(value)[:100]))
        return value

    @property
    def _whole_width(self) -> int:
        """The width of a head that sees all."""
        width = self._of_whole_layers("global_head_dim", "head_dim")
        if width is None:
            raise self.bad_config(msg("has no {keys}", keys="global_head_dim"))
        return width

    def _check_scale(self) -> None:
        """Its attention has none."""

    def hyperparameters(self) -> None:
        super().hyperparameters()
        windows, shared = self._sees_window, self.count("num_kv_shared_layers", self.layers)
        self.refuse_other_sharing(windows, shared)
        self.u32("attention.shared_kv_layers", shared)
        per_layer = self.count("hidden_size_per_layer_input")
        self.u32("embedding_length_per_layer_input", per_layer)
        self.flags("attention.sliding_window_pattern", windows)
        wide, narrow = self._whole_width, self.integer("head_dim")
        self.u32("attention.key_length", wide)
        self.u32("attention.value_length", wide)
        self.u32("attention.key_length_swa", narrow)
        self.u32("attention.value_length_swa", narrow)
        self._u32_from(
            "expert_feed_forward_length", "expert_intermediate_size", "moe_intermediate_size"
        )
        if self.config.get("use_double_wide_mlp"):
            width, own = self.integer("intermediate_size"), self.layers - shared
            self.i32s(
                "feed_forward_length",
                [width if layer < own else 2 * width for layer in range(self.layers)],
            )
        kept = self._of_whole_layers("num_global_key_value_heads", "num_key_value_heads")
        if kept is not None:
            of_windows = self.kv_heads
            self.i32s(
                "attention.head_count_kv",
                [of_windows if window else kept for window in windows],
            )
        self.u32("rope.dimension_count", wide)
        self.u32("rope.dimension_count_swa", narrow)

    def extra_tensors(self) -> Iterator[TensorSource]:
        """A part of each head turns in the layers that see all, and llama.cpp turns whole heads."""
        rope = self.rope_parameters()
        if rope.get("rope_type") != "proportional":
            raise self.bad_config(msg("rope_parameters of full_attention are not proportional"))
        share = self.number(rope, "partial_rotary_factor")
        half = self._whole_width // 2
        turned = int(self._whole_width * share / 2)
        if not 0 <= turned <= half or half > 1 << 16:
            raise self.bad_config(msg("partial_rotary_factor is {share}", share=share))
        factors = np.array([1.0] * turned + [_NEVER] * (half - turned), np.float32)
        yield self.computed("rope_freqs.weight", factors)

    def transform(self, name: str, dtype: str) -> Transform | None:
        return None

    def vocabulary(self, files: TokenizerFiles) -> None:
        write_gemma4(files, self.fields)

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        if name != "lm_head.weight":
            yield self.tensor(name, source)
