"""Hugging Face checkpoints in GGUF's terms: metadata, and where each tensor's rows come from."""

from localq.convert.checkpoint import Checkpoint, open_checkpoint, read_config
from localq.convert.families import family_of
from localq.convert.model import ConvertedModel

__all__ = [
    "Checkpoint",
    "ConvertedModel",
    "convert_checkpoint",
    "open_checkpoint",
    "read_config",
]


def convert_checkpoint(checkpoint: Checkpoint) -> ConvertedModel:
    """Plan the conversion of a checkpoint; no weight is read yet."""
    return family_of(checkpoint)(checkpoint).convert()
