"""Checkpoints that see pictures: published configs with only the sizes shrunk.

Kept of the tensors are those of the projector and what it takes from the language model. Where the
projector's matrices have numbers, llama.cpp's converter knows those below the number of layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.reference.family_case import FamilyCase
from tests.reference.projector_cases_qwen import QWEN2_VL, QWEN3_VL, QWEN25_VL, QWEN_TEXT

__all__ = ["PROJECTOR_CASES"]

_SEES = "AutoModelForImageTextToText"
_DEMO = "models/stories260K-hf"
_HALF = [0.5, 0.5, 0.5]
_CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
_CLIP_STD = [0.26862954, 0.26130258, 0.27577711]


def _no_text(name: str) -> str | None:
    """The name, unless it is of the part that reads text."""
    return None if "language_model" in name or name.startswith("lm_head") else name


_GEMMA3: Mapping[str, Any] = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "boi_token_index": 500,
    "eoi_token_index": 501,
    "eos_token_id": [1, 106],
    "image_token_index": 502,
    "initializer_range": 0.02,
    "mm_tokens_per_image": 4,
    "model_type": "gemma3",
    "text_config": {
        "head_dim": 16,
        "hidden_size": 48,
        "intermediate_size": 64,
        "model_type": "gemma3_text",
        "num_hidden_layers": 1,
        "vocab_size": 576,
    },
    "torch_dtype": "bfloat16",
    "transformers_version": "4.50.0.dev0",
    "vision_config": {
        "hidden_size": 32,
        "image_size": 56,
        "intermediate_size": 80,
        "model_type": "siglip_vision_model",
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "patch_size": 14,
        "vision_use_head": False,
    },
}
"""google/gemma-3-4b-it."""

_GEMMA3_FILES: Mapping[str, Any] = {
    "preprocessor_config.json": {
        "do_convert_rgb": None,
        "do_normalize": True,
        "do_pan_and_scan": None,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": _HALF,
        "image_processor_type": "Gemma3ImageProcessor",
        "image_seq_length": 256,
        "image_std": _HALF,
        "processor_class": "Gemma3Processor",
        "resample": 2,
        "rescale_factor": 0.00392156862745098,
        "size": {"height": 56, "width": 56},
    },
    "processor_config.json": {"image_seq_length": 4, "processor_class": "Gemma3Processor"},
}

_PLAIN: Mapping[str, Any] = {
    "preprocessor_config.json": {
        "do_normalize": True,
        "image_mean": _CLIP_MEAN,
        "image_std": _CLIP_STD,
        "merge_size": 2,
        "patch_size": 14,
        "size": {"longest_edge": 1540, "shortest_edge": 3136},
    }
}

_PIXTRAL_VISION: Mapping[str, Any] = {
    "attention_dropout": 0.0,
    "head_dim": 16,
    "hidden_act": "silu",
    "hidden_size": 32,
    "image_size": 1540,
    "intermediate_size": 80,
    "model_type": "pixtral",
    "num_attention_heads": 2,
    "num_channels": 3,
    "num_hidden_layers": 4,
    "patch_size": 14,
    "rope_theta": 10000.0,
}
_MISTRAL_TEXT: Mapping[str, Any] = {
    **QWEN_TEXT,
    "head_dim": 12,
    "model_type": "mistral",
    "rope_theta": 1000000000.0,
    "vocab_size": 520,
}

_MISTRAL3: Mapping[str, Any] = {
    "architectures": ["Mistral3ForConditionalGeneration"],
    "image_token_index": 10,
    "model_type": "mistral3",
    "multimodal_projector_bias": False,
    "projector_hidden_act": "gelu",
    "spatial_merge_size": 2,
    "text_config": _MISTRAL_TEXT,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.50.0.dev0",
    "vision_config": _PIXTRAL_VISION,
    "vision_feature_layer": -1,
}
"""mistralai/Mistral-Small-3.1-24B-Instruct-2503."""

_PIXTRAL: Mapping[str, Any] = {
    "architectures": ["LlavaForConditionalGeneration"],
    "image_seq_length": 1,
    "image_token_index": 10,
    "model_type": "llava",
    "projector_hidden_act": "gelu",
    "text_config": _MISTRAL_TEXT,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.45.0.dev0",
    "vision_config": _PIXTRAL_VISION,
    "vision_feature_layer": -1,
    "vision_feature_select_strategy": "full",
}
"""mistral-community/pixtral-12b."""

_SMOLVLM: Mapping[str, Any] = {
    "architectures": ["Idefics3ForConditionalGeneration"],
    "image_token_id": 500,
    "model_type": "idefics3",
    "scale_factor": 4,
    "text_config": {**QWEN_TEXT, "architectures": ["VLlama3ForCausalLM"], "model_type": "llama"},
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.46.0",
    "vision_config": {
        "hidden_size": 32,
        "image_size": 64,
        "intermediate_size": 80,
        "max_image_size": {"longest_edge": 64},
        "model_type": "idefics3_vision",
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "patch_size": 16,
        "size": {"longest_edge": 256},
    },
}
"""HuggingFaceTB/SmolVLM-256M-Instruct."""

_INTERNVL: Mapping[str, Any] = {
    "architectures": ["InternVLChatModel"],
    "downsample_ratio": 0.5,
    "dynamic_image_size": True,
    "force_image_size": 448,
    "llm_config": {**QWEN_TEXT, "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"},
    "max_dynamic_patch": 12,
    "min_dynamic_patch": 1,
    "model_type": "internvl_chat",
    "ps_version": "v2",
    "select_layer": -1,
    "template": "internvl2_5",
    "torch_dtype": "bfloat16",
    "use_backbone_lora": 0,
    "use_llm_lora": 0,
    "use_thumbnail": True,
    "vision_config": {
        "architectures": ["InternVisionModel"],
        "hidden_act": "gelu",
        "hidden_size": 32,
        "image_size": 56,
        "intermediate_size": 80,
        "layer_norm_eps": 1e-06,
        "model_type": "intern_vit_6b",
        "norm_type": "layer_norm",
        "num_attention_heads": 2,
        "num_channels": 3,
        "num_hidden_layers": 4,
        "patch_size": 14,
        "qk_normalization": False,
        "qkv_bias": True,
    },
}
"""OpenGVLab/InternVL3-1B, whose model is code of its own."""


def _internvl_tensors() -> dict[str, list[int]]:
    width, wide, text = 32, 80, 48
    shapes: dict[str, list[int]] = {
        "mlp1.0.bias": [4 * width],
        "mlp1.0.weight": [4 * width],
        "mlp1.1.bias": [text],
        "mlp1.1.weight": [text, 4 * width],
        "mlp1.3.bias": [text],
        "mlp1.3.weight": [text, text],
        "vision_model.embeddings.class_embedding": [1, 1, width],
        "vision_model.embeddings.patch_embedding.bias": [width],
        "vision_model.embeddings.patch_embedding.weight": [width, 3, 14, 14],
        "vision_model.embeddings.position_embedding": [1, 17, width],
    }
    for layer in range(4):
        stem = f"vision_model.encoder.layers.{layer}"
        for name, shape in (
            ("attn.proj", [width, width]),
            ("attn.qkv", [3 * width, width]),
            ("mlp.fc1", [wide, width]),
            ("mlp.fc2", [width, wide]),
        ):
            shapes[f"{stem}.{name}.bias"] = shape[:1]
            shapes[f"{stem}.{name}.weight"] = shape
        for name in ("ls1", "ls2", "norm1.bias", "norm1.weight", "norm2.bias", "norm2.weight"):
            shapes[f"{stem}.{name}"] = [width]
    return shapes


_INTERNVL_HF: Mapping[str, Any] = {
    "architectures": ["InternVLForConditionalGeneration"],
    "downsample_ratio": 0.5,
    "image_seq_length": 4,
    "image_token_id": 500,
    "model_type": "internvl",
    "projector_hidden_act": "gelu",
    "text_config": {**QWEN_TEXT, "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"},
    "torch_dtype": "bfloat16",
    "transformers_version": "4.52.0.dev0",
    "vision_config": {
        "architectures": ["InternVisionModel"],
        "attention_bias": True,
        "hidden_act": "gelu",
        "hidden_size": 32,
        "image_size": [56, 56],
        "intermediate_size": 80,
        "layer_norm_eps": 1e-06,
        "model_type": "internvl_vision",
        "norm_type": "layer_norm",
        "num_attention_heads": 2,
        "num_channels": 3,
        "num_hidden_layers": 4,
        "patch_size": [14, 14],
        "use_qk_norm": False,
    },
    "vision_feature_layer": -1,
}
"""OpenGVLab/InternVL3-1B-hf."""


def _inside_the_model(name: str) -> str | None:
    """As transformers 5 saves it: llama.cpp's converter knows no other names."""
    return None if _no_text(name) is None else f"model.{name.removeprefix('model.')}"


_GEMMA4: Mapping[str, Any] = {
    "architectures": ["Gemma4ForConditionalGeneration"],
    "audio_config": None,
    "dtype": "bfloat16",
    "image_token_id": 500,
    "model_type": "gemma4",
    "text_config": {**QWEN_TEXT, "hidden_size": 48, "model_type": "gemma4_text"},
    "tie_word_embeddings": True,
    "transformers_version": "5.5.0.dev0",
    "vision_config": {
        "attention_bias": False,
        "attention_dropout": 0.0,
        "default_output_length": 280,
        "dtype": "bfloat16",
        "global_head_dim": 16,
        "head_dim": 16,
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": 32,
        "initializer_range": 0.02,
        "intermediate_size": 80,
        "max_position_embeddings": 131072,
        "model_type": "gemma4_vision",
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "patch_size": 16,
        "pooling_kernel_size": 3,
        "position_embedding_size": 64,
        "rms_norm_eps": 1e-06,
        "rope_parameters": {"rope_theta": 100.0, "rope_type": "default"},
        "standardize": True,
        "use_clipped_linears": True,
    },
}
"""google/gemma-4-31B-it, with the bounds that the smaller ones have."""


def _gemma4_tensors() -> dict[str, list[int]]:
    width, wide, head, text = 32, 80, 16, 48
    root = "model.vision_tower"
    shapes: dict[str, list[int]] = {
        "model.embed_vision.embedding_projection.weight": [text, width],
        f"{root}.patch_embedder.input_proj.weight": [width, 3 * 16 * 16],
        f"{root}.patch_embedder.position_embedding_table": [2, 64, width],
        f"{root}.std_bias": [width],
        f"{root}.std_scale": [width],
    }
    for layer in range(2):
        stem = f"{root}.encoder.layers.{layer}"
        for name, shape in (
            *((f"self_attn.{part}_proj", [width, width]) for part in "qkvo"),
            ("mlp.gate_proj", [wide, width]),
            ("mlp.up_proj", [wide, width]),
            ("mlp.down_proj", [width, wide]),
        ):
            shapes[f"{stem}.{name}.linear.weight"] = shape
            for bound in ("input_max", "input_min", "output_max", "output_min"):
                shapes[f"{stem}.{name}.{bound}"] = []
        for name in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
            shapes[f"{stem}.{name}_layernorm.weight"] = [width]
        for part in "qk":
            shapes[f"{stem}.self_attn.{part}_norm.weight"] = [head]
    return shapes


_GEMMA4_FILES: Mapping[str, Any] = {
    "processor_config.json": {
        "image_processor": {
            "image_mean": [0.0, 0.0, 0.0],
            "image_processor_type": "Gemma4ImageProcessor",
            "image_seq_length": 280,
            "image_std": [1.0, 1.0, 1.0],
        },
        "image_seq_length": 280,
        "processor_class": "Gemma4Processor",
    }
}


def _with_embeddings(name: str) -> str | None:
    return name if name.endswith("embed_tokens.weight") else _no_text(name)


def _no_text_model(name: str) -> str | None:
    return None if "text_model" in name else _no_text(name)


_WITH_BREAK: Mapping[str, Any] = {
    **_PLAIN,
    "tokenizer_config.json": {
        "added_tokens_decoder": {
            "10": {"content": "[IMG]", "special": True},
            "12": {"content": "[IMG_BREAK]", "special": True},
        }
    },
}
_SEEN: Mapping[str, Any] = {"auto": _SEES, "rename": _no_text, "files": _PLAIN}
_SEEN_BY_ROW: Mapping[str, Any] = {
    "auto": _SEES,
    "rename": _with_embeddings,
    "files": _WITH_BREAK,
}

PROJECTOR_CASES: tuple[FamilyCase, ...] = (
    FamilyCase("gemma3", _GEMMA3, _DEMO, auto=_SEES, rename=_no_text, files=_GEMMA3_FILES),
    FamilyCase("gemma4", _GEMMA4, _DEMO, tensors=_gemma4_tensors(), files=_GEMMA4_FILES),
    FamilyCase("internvl", _INTERNVL, _DEMO, tensors=_internvl_tensors(), files=_PLAIN),
    FamilyCase(
        "internvl-hf", _INTERNVL_HF, _DEMO, auto=_SEES, rename=_inside_the_model, files=_PLAIN
    ),
    FamilyCase("mistral3", _MISTRAL3, None, **_SEEN_BY_ROW),
    FamilyCase("pixtral", _PIXTRAL, None, dtype="F16", **_SEEN_BY_ROW),
    FamilyCase("qwen2-vl", QWEN2_VL, _DEMO, **_SEEN),
    FamilyCase("qwen25-vl", QWEN25_VL, _DEMO, **_SEEN),
    FamilyCase("qwen3-vl", QWEN3_VL, _DEMO, dtype="F32", **_SEEN),
    FamilyCase("smolvlm", _SMOLVLM, _DEMO, auto=_SEES, rename=_no_text_model, files=_PLAIN),
)
