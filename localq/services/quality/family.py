"""Files that were made of the same model."""

from __future__ import annotations

from localq.library import Library, Model

__all__ = ["family_of", "files_of"]


def family_of(model: Model) -> str:
    """The name of what all its types are made of."""
    return model.name.removesuffix(f":{model.quant}")


def files_of(library: Library, family: str) -> list[Model]:
    """The GGUF files of that model in the library."""
    return [
        model
        for model in library.models()
        if model.format.is_runnable and family_of(model) == family
    ]
