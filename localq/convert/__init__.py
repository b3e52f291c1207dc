"""Hugging Face checkpoints in GGUF's terms: metadata, and where each tensor's rows come from."""

from localq.convert.checkpoint import Checkpoint, open_checkpoint, read_config
from localq.convert.families import family_of
from localq.convert.model import ConvertedModel
from localq.convert.projectors import projector_class, sees_pictures

__all__ = [
    "Checkpoint",
    "ConvertedModel",
    "convert_checkpoint",
    "convert_projector",
    "open_checkpoint",
    "read_config",
    "sees_pictures",
]


def convert_checkpoint(checkpoint: Checkpoint) -> ConvertedModel:
    """Plan the conversion of a checkpoint; no weight is read yet."""
    return family_of(checkpoint)(checkpoint).convert()


def convert_projector(checkpoint: Checkpoint) -> ConvertedModel:
    """Plan the conversion of the part of a checkpoint that sees; no weight is read yet."""
    return projector_class(checkpoint)(checkpoint).convert()
