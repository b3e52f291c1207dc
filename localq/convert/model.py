"""What a conversion gives: GGUF metadata and where each tensor's rows come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from localq.formats.gguf import Field
from localq.formats.rows import TensorSource

__all__ = ["ConvertedModel"]


@dataclass(frozen=True, slots=True)
class ConvertedModel:
    """A checkpoint in GGUF's terms, nothing of it read yet but headers.

    `architecture` is llama.cpp's name. Tensors and fields are in the order in which llama.cpp's
    converter writes them; `general.file_type` says the type that loses nothing. `warnings` are
    lines the user should see.
    """

    architecture: str
    fields: Mapping[str, Field]
    tensors: tuple[TensorSource, ...]
    warnings: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        return sum(tensor.elements for tensor in self.tensors)
