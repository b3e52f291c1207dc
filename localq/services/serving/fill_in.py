"""Text between a beginning and an end, for models that were taught to fill it in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from localq.errors import UnsupportedError
from localq.messages import msg
from localq.services.hosting.hosted import HostedModel

__all__ = ["FillIn", "fill_in_tokens"]


@dataclass(frozen=True, slots=True)
class FillIn:
    """`begun`: what there is of the middle. `files`: names and texts of others that help."""

    prefix: str
    suffix: str
    begun: str = ""
    files: Sequence[tuple[str, str]] = ()


def fill_in_tokens(model: HostedModel, fill: FillIn) -> list[int]:
    """The prompt, in llama-server's order. UnsupportedError for a model that has no such tokens."""
    metadata = model.metadata
    pre, suf, mid = (
        _token(metadata, f"fim_{short}", old)
        for short, old in (("pre", "prefix"), ("suf", "suffix"), ("mid", "middle"))
    )
    if pre is None or suf is None or mid is None:
        raise UnsupportedError(
            msg("{name} was not taught to fill in text", name=model.model.name),
            hint=msg("take a model for code, such as Qwen2.5-Coder"),
        )

    def plain(text: str) -> list[int]:
        return model.tokenize(text, add_special=False, parse_special=False) if text else []

    tokens = model.tokenize("") if metadata.get("tokenizer.ggml.add_bos_token") else []
    separator = _token(metadata, "fim_sep", "")
    for name, text in fill.files:
        if separator is None:
            tokens += plain(f"{name}\n{text}\n")
        else:
            tokens += [separator, *plain(f"{name}\n{text}")]
    return [*tokens, pre, *plain(fill.prefix), suf, *plain(fill.suffix), mid, *plain(fill.begun)]


def _token(metadata: Mapping[str, object], name: str, old: str) -> int | None:
    for key in (name, old):
        value = metadata.get(f"tokenizer.ggml.{key}_token_id")
        if isinstance(value, int):
            return value
    return None
