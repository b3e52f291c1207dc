"""What llama.cpp knows of architectures and their files do not say.

Source: `llm_arch_is_recurrent` and `llm_arch_is_hybrid` in `src/llama-arch.cpp`, `create_memory` in
`src/llama-model.cpp`, `load_arch_hparams` in `src/models/*.cpp`,
`llama_init_from_model` in `src/llama-context.cpp`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "APPROXIMATE",
    "DIFFUSION",
    "ENCODERS",
    "HYBRIDS_BY_HEADS",
    "HYBRIDS_BY_INTERVAL",
    "IGNORES_WINDOW",
    "RECURRENT",
    "WINDOWS",
    "WITHOUT_FLASH_ATTENTION",
    "Window",
]


@dataclass(frozen=True, slots=True)
class Window:
    """An architecture's sliding window where its files do not say: every `period`-th layer, the
    last of each period or the first, sees everything. `size` None: only if the file has one."""

    period: int
    first: bool = False
    size: int | None = None
    fixed: bool = False
    """Whether `size` holds whatever the file says."""


WINDOWS: Mapping[str, Window] = {
    "afmoe": Window(4),
    "cohere2": Window(4),
    "cohere2moe": Window(4, first=True),
    "exaone-moe": Window(4, size=128),
    "exaone4": Window(4, size=4096),
    "gemma2": Window(2, size=4096),
    "gemma3": Window(6),
    "gemma3n": Window(5),
    "gpt-oss": Window(2),
    "laguna": Window(4, first=True),
    "llama4": Window(4, size=8192, fixed=True),
    "mellum": Window(4),
    "muse-glimmer": Window(4),
    "olmo2": Window(4),
    "plamo3": Window(8),
    "smallthinker": Window(4, first=True, size=4096),
}
IGNORES_WINDOW = frozenset({"phi3"})
WITHOUT_FLASH_ATTENTION = frozenset({"grok"})
"""llama.cpp turns it off for these, whatever was asked for."""
DIFFUSION = frozenset({"dream", "llada", "llada-moe", "rnd1"})
"""These write a whole text at a time, which llama.cpp's usual programs cannot."""
ENCODERS = frozenset(
    {
        "bert",
        "dream",
        "eurobert",
        "gemma-embedding",
        "jina-bert-v2",
        "jina-bert-v3",
        "llada",
        "llada-moe",
        "modern-bert",
        "neo-bert",
        "nomic-bert",
        "nomic-bert-moe",
        "rnd1",
        "wavtokenizer-dec",
    }
)
RECURRENT = frozenset({"arwkv7", "mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7"})
HYBRIDS_BY_HEADS = frozenset(
    {
        "bailingmoe3",
        "glm5-next",
        "granitehybrid",
        "jamba",
        "kimi-k3",
        "kimi-linear",
        "lfm2",
        "lfm2moe",
        "nemotron_h",
        "nemotron_h_moe",
        "plamo2",
    }
)
"""Hybrids whose layers without key and value heads are the recurrent ones."""
HYBRIDS_BY_INTERVAL = frozenset({"minimax-01", "qwen35", "qwen35moe", "qwen3next", "qwen4exp"})
"""Hybrids whose every fourth layer, or so, is an attention layer."""
APPROXIMATE = frozenset(
    {"deepseek4", "dflash", "dots3note", "glm5-next", "hy-v4", "minimax-m3", "qwen4exp"}
)
"""What these keep besides keys and values is not modelled."""
