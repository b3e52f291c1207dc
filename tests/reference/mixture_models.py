"""Published models in their true sizes, at least one of each family and of each special rule.

Where a family's table has a config of the same kind, only the sizes are given here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.checkpoints import LLAMA2_CONFIG, LLAMA32_CONFIG, SMOLLM2_CONFIG
from tests.reference.family_case import FamilyCase
from tests.reference.family_cases import FAMILY_CASES

__all__ = ["MIXTURE_MODELS", "MixtureModel"]

_CASES: Mapping[str, FamilyCase] = {
    **{case.name: case for case in FAMILY_CASES},
    "llama2": FamilyCase("llama2", LLAMA2_CONFIG, None),
    "llama3": FamilyCase("llama3", LLAMA32_CONFIG, None),
    "smollm2": FamilyCase("smollm2", SMOLLM2_CONFIG, None),
}

_HIDDEN, _INNER, _LAYERS = "hidden_size", "intermediate_size", "num_hidden_layers"
_HEADS, _KV = "num_attention_heads", "num_key_value_heads"


@dataclass(frozen=True)
class MixtureModel:
    """`config` is the published one; `auto` and `rename` as in FamilyCase.

    `tensors` are the shapes where transformers has no such model, `more` those of tensors that
    the published checkpoint has besides transformers' own.
    """

    name: str
    config: Mapping[str, Any]
    auto: str = "AutoModelForCausalLM"
    rename: Callable[[str], str | None] | None = None
    tensors: Mapping[str, Sequence[int]] | None = None
    more: Mapping[str, Sequence[int]] = field(default_factory=dict)


def _model(
    name: str,
    like: str,
    sizes: Mapping[str, Any],
    *,
    tensors: Mapping[str, Sequence[int]] | None = None,
    more: Mapping[str, Sequence[int]] | None = None,
) -> MixtureModel:
    case = _CASES[like]
    config = {**case.config, **sizes}
    return MixtureModel(name, config, case.auto, case.rename, tensors, more or {})


def _decoder(
    hidden: int, inner: int, layers: int, heads: int, kv: int, vocabulary: int, **more: Any
) -> dict[str, Any]:
    return {
        _HIDDEN: hidden,
        _INNER: inner,
        _LAYERS: layers,
        _HEADS: heads,
        _KV: kv,
        "vocab_size": vocabulary,
        **more,
    }


_LLAMA31 = {
    "head_dim": 128,
    "rope_scaling": {**LLAMA32_CONFIG["rope_scaling"], "factor": 8.0},
    "tie_word_embeddings": False,
}

_LLAMAS = (
    _model("Llama-3.1-8B", "llama3", _decoder(4096, 14336, 32, 32, 8, 128256, **_LLAMA31)),
    _model("Llama-3.1-70B", "llama3", _decoder(8192, 28672, 80, 64, 8, 128256, **_LLAMA31)),
    _model("Llama-3.2-1B", "llama3", _decoder(2048, 8192, 16, 32, 8, 128256, head_dim=64)),
    _model("Llama-2-7b-hf", "llama2", _decoder(4096, 11008, 32, 32, 32, 32000)),
    # As many layers as the 70B model, but every head has its own keys: another rule.
    _model("llama-65b", "llama2", _decoder(8192, 22016, 80, 64, 64, 32000)),
    _model("SmolLM2-135M-Instruct", "smollm2", _decoder(576, 1536, 30, 9, 3, 49152)),
    _model(
        "SmolLM3-3B",
        "smollm3-tiny",
        _decoder(
            *(2048, 11008, 36, 16, 4, 128256),
            bos_token_id=128000,
            eos_token_id=128012,
            layer_types=["full_attention"] * 36,
            no_rope_layers=[1, 1, 1, 0] * 9,
            pad_token_id=128004,
        ),
    ),
)

_MISTRALS = (
    _model(
        "Mistral-7B-v0.3",
        "mistral-tiny",
        _decoder(4096, 14336, 32, 32, 8, 32768, rope_theta=1e6, sliding_window=None),
    ),
    _model("Mixtral-8x7B-v0.1", "mixtral-tiny", _decoder(4096, 14336, 32, 32, 8, 32000)),
)

_QWENS = (
    _model("Qwen2.5-0.5B", "qwen25-tiny", _decoder(896, 4864, 24, 14, 2, 151936)),
    _model(
        "Qwen2.5-7B",
        "qwen25-tiny",
        _decoder(3584, 18944, 28, 28, 4, 152064, tie_word_embeddings=False),
    ),
    # Rows of 29568, which are not whole blocks of 256.
    _model(
        "Qwen2.5-72B",
        "qwen25-tiny",
        _decoder(8192, 29568, 80, 64, 8, 152064, tie_word_embeddings=False),
    ),
    _model(
        "Qwen3-8B",
        "qwen3-tiny",
        _decoder(4096, 12288, 36, 32, 8, 151936, head_dim=128, tie_word_embeddings=False),
    ),
    _model(
        "Qwen1.5-MoE-A2.7B",
        "qwen2-moe",
        _decoder(
            *(2048, 5632, 24, 16, 16, 151936),
            bos_token_id=151643,
            eos_token_id=151643,
            moe_intermediate_size=1408,
            num_experts=60,
            num_experts_per_tok=4,
            shared_expert_intermediate_size=5632,
        ),
    ),
    _model(
        "Qwen3-30B-A3B",
        "qwen3-moe",
        _decoder(
            *(2048, 6144, 48, 32, 4, 151936),
            bos_token_id=151643,
            eos_token_id=151645,
            head_dim=128,
            moe_intermediate_size=768,
            num_experts=128,
            num_experts_per_tok=8,
            tie_word_embeddings=False,
        ),
    ),
)

_GEMMAS = (
    _model("gemma-7b", "gemma-tiny", _decoder(3072, 24576, 28, 16, 16, 256000, head_dim=256)),
    _model(
        "gemma-2-27b",
        "gemma2-tiny",
        _decoder(
            *(4608, 36864, 46, 32, 16, 256000),
            head_dim=128,
            query_pre_attn_scalar=144,
            sliding_window=4096,
        ),
    ),
    _model(
        "gemma-3-1b-it",
        "gemma3-tiny",
        _decoder(
            *(1152, 6912, 26, 4, 1, 262144),
            head_dim=256,
            query_pre_attn_scalar=256,
            sliding_window=512,
        ),
    ),
    _model(
        "gemma-3-27b-it",
        "gemma3-multimodal",
        {
            "boi_token_index": 255999,
            "eoi_token_index": 256000,
            "image_token_index": 262144,
            "mm_tokens_per_image": 256,
            "text_config": _decoder(
                *(5376, 21504, 62, 32, 16, 262208),
                head_dim=128,
                model_type="gemma3_text",
                query_pre_attn_scalar=168,
                rope_scaling={"factor": 8.0, "rope_type": "linear"},
                sliding_window=1024,
            ),
            "vision_config": {
                "hidden_size": 1152,
                "image_size": 896,
                "intermediate_size": 4304,
                "model_type": "siglip_vision_model",
                "num_attention_heads": 16,
                "num_hidden_layers": 27,
                "patch_size": 14,
                "vision_use_head": False,
            },
        },
    ),
)

_PHIS = (
    _model("phi-2", "phi2-tiny", _decoder(2560, 10240, 32, 32, 32, 51200)),
    _model("Phi-3-mini-4k-instruct", "phi3-tiny", _decoder(3072, 8192, 32, 32, 32, 32064)),
    _model("phi-4", "phi4-tiny", _decoder(5120, 17920, 40, 40, 10, 100352, pad_token_id=100349)),
)

_GRANITES = (
    _model("granite-3.3-8b-base", "granite-tiny", _decoder(4096, 12800, 40, 32, 8, 49159)),
    _model(
        "granite-3.1-3b-a800m-base",
        "granite-moe",
        _decoder(*(1536, 512, 32, 24, 8, 49155), num_local_experts=40, num_experts_per_tok=8),
    ),
)

_OTHERS = (
    _model("gpt2-xl", "gpt2-tiny", {"n_embd": 1600, "n_head": 25, "n_layer": 48}),
    _model(
        "starcoderbase",
        "starcoder-tiny",
        {"n_embd": 6144, "n_head": 48, "n_inner": 24576, "n_layer": 40},
    ),
    _model("pythia-6.9b", "pythia-tiny", _decoder(4096, 16384, 32, 32, 32, 50432)),
    _model(
        "falcon-7b",
        "falcon7-tiny",
        {_HIDDEN: 4544, _LAYERS: 32, _HEADS: 71, "vocab_size": 65024},
        more={"lm_head.weight": (65024, 4544)},
    ),
    _model(
        "falcon-40b",
        "falcon40-tiny",
        {_HIDDEN: 8192, _LAYERS: 60, _HEADS: 128, "num_kv_heads": 8, "vocab_size": 65024},
        more={"lm_head.weight": (65024, 8192)},
    ),
    _model(
        "falcon-180B",
        "falcon40-tiny",
        {_HIDDEN: 14848, _LAYERS: 80, _HEADS: 232, "num_kv_heads": 8, "vocab_size": 65024},
    ),
    _model(
        "starcoder2-15b",
        "starcoder2-tiny",
        _decoder(6144, 24576, 40, 48, 4, 49152, tie_word_embeddings=False),
    ),
    _model("stablelm-2-1_6b", "stablelm2-tiny", _decoder(2048, 5632, 24, 32, 32, 100352)),
    _model("stablelm-2-12b", "stablelm12-tiny", _decoder(5120, 13824, 40, 32, 8, 100352)),
    _model("OLMo-7B-hf", "olmo-tiny", _decoder(4096, 11008, 32, 32, 32, 50304, clip_qkv=None)),
    _model("OLMo-2-1124-13B", "olmo2-tiny", _decoder(5120, 13824, 40, 40, 40, 100352)),
    _model(
        "OLMoE-1B-7B-0924",
        "olmoe-tiny",
        _decoder(2048, 1024, 16, 16, 16, 50304, num_experts=64, num_experts_per_tok=8),
    ),
    _model("c4ai-command-r-v01", "command-r-tiny", _decoder(8192, 22528, 40, 64, 64, 256000)),
    _model("c4ai-command-r-plus", "command-r-plus-tiny", _decoder(12288, 33792, 64, 96, 8, 256000)),
    _model(
        "c4ai-command-r7b-12-2024",
        "cohere2-tiny",
        _decoder(4096, 14336, 32, 32, 8, 256000, head_dim=128, sliding_window=4096),
    ),
    _model(
        "bloom-7b1",
        "bloom-tiny",
        {"n_embed": 4096, "n_layer": 30, _HEADS: 32, "vocab_size": 250880},
    ),
    _model("mpt-7b", "mpt-tiny", {"d_model": 4096, "n_heads": 32, "n_layers": 32}),
    _model(
        "glm-4-9b-chat-hf",
        "glm-tiny",
        _decoder(4096, 13696, 40, 32, 2, 151552, head_dim=128, pad_token_id=151329),
    ),
    _model(
        "GLM-4-32B-0414",
        "glm4-tiny",
        _decoder(6144, 23040, 61, 48, 2, 151552, head_dim=128, pad_token_id=151329),
    ),
)

_ENCODERS = (
    _model("bge-small-en-v1.5", "bge-tiny", {_HIDDEN: 384, _INNER: 1536, _LAYERS: 12, _HEADS: 12}),
    _model("bge-large-en-v1.5", "bge-tiny", {_HIDDEN: 1024, _INNER: 4096, _LAYERS: 24, _HEADS: 16}),
    _model(
        "distilbert-base-uncased",
        "distilbert-tiny",
        {"dim": 768, "hidden_dim": 3072, "n_heads": 12, "n_layers": 6},
    ),
    _model(
        "nomic-embed-text-v1.5",
        "nomic-tiny",
        {"n_embd": 768, "n_head": 12, "n_inner": 3072, "n_layer": 12},
        tensors={
            "embeddings.word_embeddings.weight": (30528, 768),
            "embeddings.token_type_embeddings.weight": (2, 768),
            "emb_ln.weight": (768,),
            "emb_ln.bias": (768,),
            "encoder.layers.{0-11}.norm1.weight": (768,),
            "encoder.layers.{0-11}.norm1.bias": (768,),
            "encoder.layers.{0-11}.norm2.weight": (768,),
            "encoder.layers.{0-11}.norm2.bias": (768,),
            "encoder.layers.{0-11}.attn.Wqkv.weight": (2304, 768),
            "encoder.layers.{0-11}.attn.out_proj.weight": (768, 768),
            "encoder.layers.{0-11}.mlp.fc11.weight": (3072, 768),
            "encoder.layers.{0-11}.mlp.fc12.weight": (3072, 768),
            "encoder.layers.{0-11}.mlp.fc2.weight": (768, 3072),
        },
    ),
)

MIXTURE_MODELS: tuple[MixtureModel, ...] = (
    *_LLAMAS,
    *_MISTRALS,
    *_QWENS,
    *_GEMMAS,
    *_PHIS,
    *_GRANITES,
    _model(
        "internlm2-20b",
        "internlm2-tiny",
        _decoder(6144, 16384, 48, 48, 8, 92544),
        tensors={
            "model.tok_embeddings.weight": (92544, 6144),
            "model.layers.{0-47}.attention.wqkv.weight": (8192, 6144),
            "model.layers.{0-47}.attention.wo.weight": (6144, 6144),
            "model.layers.{0-47}.attention_norm.weight": (6144,),
            "model.layers.{0-47}.feed_forward.w1.weight": (16384, 6144),
            "model.layers.{0-47}.feed_forward.w2.weight": (6144, 16384),
            "model.layers.{0-47}.feed_forward.w3.weight": (16384, 6144),
            "model.layers.{0-47}.ffn_norm.weight": (6144,),
            "model.norm.weight": (6144,),
            "output.weight": (92544, 6144),
        },
    ),
    *_OTHERS,
    *_ENCODERS,
)
