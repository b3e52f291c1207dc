"""A tensor's name without what training programs and larger models put around it.

`torch.compile`, DistributedDataParallel, FSDP and PEFT each leave their wrapper's name in a saved
checkpoint; models that also see or hear keep what reads text in a part of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from localq.errors import UnsupportedError
from localq.messages import msg

__all__ = ["is_of_other_senses", "refuse_adapter_inside", "unwrapped"]

_WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|base_layer)\."
)
_OUTER = ("module.", "base_model.model.")
_TEXT = "language_model."
_ADAPTER = re.compile(r"\.(?:lora_(?:[AB]|embedding_[AB]|magnitude_vector)|modules_to_save)\b")
_OTHER_SENSES = re.compile(
    r"^(?:mlp|vit|vpm|siglip2|conformer|merger|resampler)\d*\."
    r"|(?:visual|vision|audio|talker|token2wav|code2wav|projector)\.|vision_|audio_"
    r"|pre_mm_projector_norm|image_newline|view_seperator|patch_embed|patch_merge|connector\."
)
"""llama.cpp `conversion/base.py`, TextModel.filter_tensors."""


def unwrapped(name: str) -> str:
    """The name as the model itself would have it."""
    name = _WRAPPERS.sub("", name)
    while name.startswith(_OUTER):
        for outer in _OUTER:
            name = name.removeprefix(outer)
    return name.replace(_TEXT, "", 1)


def is_of_other_senses(name: str) -> bool:
    """Whether a tensor of a model that also sees or hears is of the part that does."""
    return _OTHER_SENSES.search(name) is not None


def refuse_adapter_inside(path: Path, names: Iterable[str]) -> None:
    """UnsupportedError where an adapter lies beside the weights that it would change: without it
    the model would be another."""
    for name in names:
        if _ADAPTER.search(name):
            raise UnsupportedError(
                msg(
                    "{path}: holds an adapter that was never merged (tensor {name!r})",
                    path=path,
                    name=name[:200],
                ),
                hint=msg(
                    "merge it where it was trained, in PEFT:"
                    " model.merge_and_unload().save_pretrained(FOLDER)"
                ),
            )
