"""Model families: one module each, found by the architecture that config.json names.

A family's module is imported only when a checkpoint of it is converted.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from localq.errors import UnsupportedError

if TYPE_CHECKING:
    from localq.convert.families.decoder import Decoder

__all__ = ["ARCHITECTURES", "family_of"]

ARCHITECTURES: Mapping[str, str] = {
    # architecture in config.json -> "module:Class" in this package
    "LlamaForCausalLM": "llama:Llama",
    "LLaMAForCausalLM": "llama:Llama",
}


def family_of(architecture: str) -> type[Decoder]:
    """The converter class for a config's architecture; UnsupportedError names what there is."""
    try:
        module, _, name = ARCHITECTURES[architecture].partition(":")
    except KeyError:
        raise UnsupportedError(
            f"localq cannot convert the architecture {architecture[:100]!r} yet",
            hint="take a ready GGUF of the model (localq pull REPO:QUANT), or one of: "
            + ", ".join(sorted(ARCHITECTURES)),
        ) from None
    family: type[Decoder] = getattr(import_module(f"{__name__}.{module}"), name)
    return family
