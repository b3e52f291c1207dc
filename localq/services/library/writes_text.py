"""Whether a model writes text at all. llama.cpp aborts where one that does not is told to."""

from __future__ import annotations

from localq.errors import UnsupportedError
from localq.formats.gguf import GGUFFile
from localq.library import Model
from localq.messages import msg
from localq.planning.architectures import DIFFUSION, ENCODERS

__all__ = ["check_writes_text"]


def check_writes_text(model: Model, file: GGUFFile) -> None:
    """UnsupportedError for embedding models and others that do not go on with a text."""
    architecture = file.metadata.get("general.architecture")
    looks_ahead = file.metadata.get(f"{architecture}.attention.causal") is False
    if architecture in DIFFUSION:
        raise UnsupportedError(
            msg("{name}: a diffusion model does not write text token by token", name=model.name),
            hint=msg("take a model of another architecture: localq search WORDS"),
        )
    if architecture in ENCODERS or looks_ahead:
        raise UnsupportedError(
            msg(
                "{name}: an embedding model ({architecture}) turns text into numbers and"
                " does not write any",
                name=model.name,
                architecture=architecture,
            ),
            hint=msg('localq embed {name} "a text"', name=model.name),
        )
