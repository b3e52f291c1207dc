"""Model families: one module each, found by the architecture that config.json names.

A family's module is imported only when a checkpoint of it is converted.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from shlex import quote
from typing import TYPE_CHECKING

from localq.convert.llama_cpp_knows import knows_architecture
from localq.convert.mistral_params import MISTRAL_PARAMS
from localq.errors import UnsupportedError
from localq.messages import msg

if TYPE_CHECKING:
    from localq.convert.checkpoint import Checkpoint
    from localq.convert.families.decoder import Decoder

__all__ = ["ARCHITECTURES", "family_class", "family_of"]

ARCHITECTURES: Mapping[str, str] = {
    # architecture in config.json -> "module:Class" in this package
    MISTRAL_PARAMS: "mistral_own:MistralOwn",
    "LlamaModel": "llama:Llama",
    "LlavaForConditionalGeneration": "llava:Llava",
    "Idefics3ForConditionalGeneration": "llava:SmolVlm",
    "SmolVLMForConditionalGeneration": "llava:SmolVlm",
    "VLlama3ForCausalLM": "llava:SmolVlm",
    "MistralModel": "mistral:Mistral",
    "Qwen3MoeModel": "qwen:Qwen3Moe",
    "Qwen2MoeModel": "qwen:Qwen2Moe",
    "GemmaModel": "gemma:Gemma",
    "Gemma2Model": "gemma:Gemma2",
    "MixtralModel": "mistral:Mixtral",
    "Phi3Model": "phi:Phi3",
    "Qwen2VLForConditionalGeneration": "qwen:Qwen2Vl",
    "Qwen2VLModel": "qwen:Qwen2Vl",
    "Qwen2_5_VLForConditionalGeneration": "qwen:Qwen2Vl",
    "Qwen3VLForConditionalGeneration": "qwen:Qwen3Vl",
    "Qwen3VLMoeForConditionalGeneration": "qwen:Qwen3VlMoe",
    "Qwen3NextForCausalLM": "qwen_linear:Qwen3Next",
    "Qwen3_5ForCausalLM": "qwen_linear:Qwen35",
    "Qwen3_5ForConditionalGeneration": "qwen_linear:Qwen35",
    "Qwen3_5MoeForCausalLM": "qwen_linear:Qwen35Moe",
    "Qwen3_5MoeForConditionalGeneration": "qwen_linear:Qwen35Moe",
    "GptOssForCausalLM": "gpt_oss:GptOss",
    "ArceeForCausalLM": "mistral:Arcee",
    "DeepseekV2ForCausalLM": "deepseek:DeepSeek2",
    "DeepseekV3ForCausalLM": "deepseek:DeepSeek2",
    "DeepseekV32ForCausalLM": "deepseek:DeepSeek32",
    "Glm4MoeForCausalLM": "glm:Glm4Moe",
    "Lfm2ForCausalLM": "lfm2:Lfm2",
    "Lfm2MoeForCausalLM": "lfm2:Lfm2Moe",
    "MiniMaxM2ForCausalLM": "minimax:MiniMaxM2",
    "Ministral3ForCausalLM": "mistral:Mistral3",
    "Mistral3ForConditionalGeneration": "mistral:Mistral3",
    "SeedOssForCausalLM": "seed_oss:SeedOss",
    "Dots1ForCausalLM": "dots1:Dots1",
    "Ernie4_5ForCausalLM": "ernie:Ernie45",
    "Ernie4_5_ForCausalLM": "ernie:Ernie45",
    "Ernie4_5_MoeForCausalLM": "ernie:Ernie45Moe",
    "Exaone4ForCausalLM": "exaone4:Exaone4",
    "HunYuanDenseV1ForCausalLM": "hunyuan:HunYuanDense",
    "HunYuanMoEV1ForCausalLM": "hunyuan:HunYuanMoe",
    "ApertusForCausalLM": "apertus:Apertus",
    "Llama4ForCausalLM": "llama4:Llama4",
    "Llama4ForConditionalGeneration": "llama4:Llama4",
    "BailingMoeForCausalLM": "bailing:BailingMoe",
    "BailingMoeV2ForCausalLM": "bailing:BailingMoe2",
    "MiniCPMForCausalLM": "minicpm:MiniCpm",
    "MiniCPM3ForCausalLM": "minicpm:MiniCpm3",
    "BaichuanForCausalLM": "baichuan:Baichuan",
    "BaiChuanForCausalLM": "baichuan:Baichuan",
    "PhiMoEForCausalLM": "phi:PhiMoe",
    "MambaForCausalLM": "mamba:Mamba",
    "MambaLMHeadModel": "mamba:Mamba",
    "FalconMambaForCausalLM": "mamba:Mamba",
    "Mamba2ForCausalLM": "mamba:Mamba2",
    "JambaForCausalLM": "jamba:Jamba",
    "FalconH1ForCausalLM": "falcon_h1:FalconH1",
    "GraniteMoeHybridForCausalLM": "granite:GraniteHybrid",
    "NemotronHForCausalLM": "nemotron_h:NemotronH",
    "Gemma3TextModel": "gemma:GemmaEmbedding",
    "Gemma3nForCausalLM": "gemma3n:Gemma3n",
    "Gemma3nForConditionalGeneration": "gemma3n:Gemma3n",
    "Gemma4ForCausalLM": "gemma4:Gemma4",
    "Gemma4ForConditionalGeneration": "gemma4:Gemma4",
    "LlamaForCausalLM": "llama:Llama",
    "LLaMAForCausalLM": "llama:Llama",
    "Gemma2ForCausalLM": "gemma:Gemma2",
    "Gemma3ForCausalLM": "gemma:Gemma3",
    "Gemma3ForConditionalGeneration": "gemma:Gemma3",
    "GemmaForCausalLM": "gemma:Gemma",
    "GraniteForCausalLM": "granite:Granite",
    "GraniteMoeForCausalLM": "granite:GraniteMoe",
    "GraniteMoeSharedForCausalLM": "granite:GraniteMoe",
    "MistralForCausalLM": "mistral:Mistral",
    "MixtralForCausalLM": "mistral:Mixtral",
    "Phi3ForCausalLM": "phi:Phi3",
    "PhiForCausalLM": "phi:Phi2",
    "Qwen2ForCausalLM": "qwen:Qwen2",
    "Qwen2Model": "qwen:Qwen2",
    "Qwen2MoeForCausalLM": "qwen:Qwen2Moe",
    "Qwen3ForCausalLM": "qwen:Qwen3",
    "Qwen3Model": "qwen:Qwen3",
    "Qwen3MoeForCausalLM": "qwen:Qwen3Moe",
    "SmolLM3ForCausalLM": "smollm3:SmolLM3",
    "ModernBertModel": "modern_bert:ModernBert",
    "ModernBertForMaskedLM": "modern_bert:ModernBert",
    "ModernBertForSequenceClassification": "modern_bert:ModernBert",
    "NeoBERT": "modern_bert:NeoBert",
    "NeoBERTLMHead": "modern_bert:NeoBert",
    "NeoBERTForSequenceClassification": "modern_bert:NeoBert",
    "BertForMaskedLM": "bert:Bert",
    "BertForSequenceClassification": "bert:Bert",
    "BertModel": "bert:Bert",
    "CamembertModel": "bert:Roberta",
    "DistilBertForMaskedLM": "bert:DistilBert",
    "DistilBertForSequenceClassification": "bert:DistilBert",
    "DistilBertModel": "bert:DistilBert",
    "Glm4ForCausalLM": "glm:Glm4",
    "GlmForCausalLM": "glm:Glm",
    "InternLM2ForCausalLM": "internlm2:InternLm2",
    "MPTForCausalLM": "mpt:Mpt",
    "MptForCausalLM": "mpt:Mpt",
    "JinaBertForMaskedLM": "bert:JinaBert",
    "JinaBertModel": "bert:JinaBert",
    "NomicBertModel": "bert:NomicBert",
    "RobertaForSequenceClassification": "bert:Roberta",
    "RobertaModel": "bert:Roberta",
    "XLMRobertaForSequenceClassification": "bert:Roberta",
    "XLMRobertaModel": "bert:Roberta",
    "BloomForCausalLM": "gptneox:Bloom",
    "BloomModel": "gptneox:Bloom",
    "Cohere2ForCausalLM": "command_r:Cohere2",
    "CohereForCausalLM": "command_r:CommandR",
    "FalconForCausalLM": "falcon:Falcon",
    "GPT2LMHeadModel": "gpt2:Gpt2",
    "GPTBigCodeForCausalLM": "gpt2:GptBigCode",
    "GPTNeoXForCausalLM": "gptneox:GptNeoX",
    "OLMoForCausalLM": "olmo:Olmo",
    "Olmo2ForCausalLM": "olmo:Olmo2",
    "Olmo3ForCausalLM": "olmo:Olmo3",
    "OlmoForCausalLM": "olmo:Olmo",
    "OlmoeForCausalLM": "olmo:Olmoe",
    "RWForCausalLM": "falcon:Falcon",
    "StableLMEpochForCausalLM": "stablelm:StableLm",
    "StableLmForCausalLM": "stablelm:StableLm",
    "Starcoder2ForCausalLM": "starcoder2:StarCoder2",
}


def family_of(checkpoint: Checkpoint) -> type[Decoder]:
    """The class that converts the checkpoint; UnsupportedError says who else may."""
    architecture = checkpoint.architecture
    if architecture not in ARCHITECTURES and not knows_architecture(architecture):
        raise UnsupportedError(
            msg(
                "neither localq nor llama.cpp can convert the architecture {architecture!r} yet",
                architecture=architecture[:100],
            ),
            hint=msg("choose another model, or a newer localq: pip install --upgrade localq"),
        )
    if architecture not in ARCHITECTURES:
        raise UnsupportedError(
            msg(
                "localq cannot convert the architecture {architecture!r} yet",
                architecture=architecture[:100],
            ),
            hint=msg(
                "llama.cpp's own converter may know it: localq quantize q4_0 {quote} --with"
                " llama.cpp",
                quote=quote(str(checkpoint.root)),
            ),
        )
    return family_class(architecture)


def family_class(architecture: str) -> type[Decoder]:
    """The class of an architecture that is in ARCHITECTURES."""
    module, _, name = ARCHITECTURES[architecture].partition(":")
    family: type[Decoder] = getattr(import_module(f"{__name__}.{module}"), name)
    return family
