"""Presets: how a model is to answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from localq.errors import UsageError
from localq.messages import msg
from localq.sessions.words import well_formed

__all__ = ["DEFAULT", "SHIPPED", "OnFull", "Preset", "on_full_named", "preset_of"]

_MAX_SYSTEM = 1 << 20
_TEXTS = ("system", "about")


class OnFull(StrEnum):
    """What happens when a conversation no longer fits the context."""

    STOP = "stop"
    """Nothing is sent; the user decides."""
    SLIDE = "slide"
    """The oldest turns are left out."""
    SUMMARISE = "summarise"
    """The model writes a summary of the oldest turns, which takes their place."""


@dataclass(frozen=True, slots=True)
class Preset:
    name: str
    system: str = ""
    sampling: Mapping[str, object] = field(default_factory=dict)
    """Fields of SamplingParams; what is not named is as the model's makers recommend."""
    on_full: OnFull = OnFull.STOP
    about: str = ""


DEFAULT = Preset("default", about=msg("the model as its makers recommend it"))

SHIPPED: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        DEFAULT,
        Preset(
            "precise",
            system=(
                "Answer exactly and briefly. Where you do not know something, say so. Do not guess."
            ),
            sampling={"temperature": 0.2, "top_p": 0.9},
            about=msg("short, careful answers"),
        ),
        Preset(
            "creative",
            system="You are an inventive writer with an eye for detail.",
            sampling={"temperature": 1.0, "min_p": 0.05, "top_p": 1.0},
            on_full=OnFull.SLIDE,
            about=msg("stories and ideas"),
        ),
        Preset(
            "code",
            system=(
                "You are an experienced programmer. Give working code in fenced blocks that name"
                " the language, then say in a few words what matters."
            ),
            sampling={"temperature": 0.2, "top_p": 0.95},
            about=msg("programs, with little talk"),
        ),
        Preset(
            "translate",
            system=(
                "Translate what the user writes: Chinese into English, everything else into"
                " Simplified Chinese. Give the translation alone. Keep code, names and layout."
            ),
            sampling={"temperature": 0.1},
            on_full=OnFull.SLIDE,
            about=msg("Chinese to English, all else to Chinese"),
        ),
        Preset(
            "long-talk",
            sampling={},
            on_full=OnFull.SUMMARISE,
            about=msg("a conversation without end: what is old is summarised"),
        ),
    )
}


def preset_of(name: str, document: Mapping[str, object]) -> Preset:
    """The preset that a mapping of its fields describes; UsageError names what makes no sense.
    Whether values of `sampling` are in their ranges is for the engine to say."""
    fields = (*_TEXTS, "sampling", "on_full")
    if unknown := sorted(document.keys() - {*fields, "name"}):
        raise UsageError(
            msg("preset {name}: there is no {field!r}", name=name, field=unknown[0]),
            hint=msg("it may have: {fields}", fields=", ".join(fields)),
        )
    for key in _TEXTS:
        value = document.get(key, "")
        if not isinstance(value, str):
            raise UsageError(msg("preset {name}: {field} is not a text", name=name, field=key))
        if len(value) > _MAX_SYSTEM:
            raise UsageError(msg("preset {name}: {field} is too long", name=name, field=key))
    sampling = document.get("sampling", {})
    if not isinstance(sampling, Mapping) or not all(isinstance(key, str) for key in sampling):
        raise UsageError(msg("preset {name}: sampling is not a table", name=name))
    on_full = document.get("on_full", OnFull.STOP.value)
    return Preset(
        name,
        system=well_formed(str(document.get("system", ""))),
        sampling=dict(sampling),
        on_full=on_full_named(on_full),
        about=well_formed(str(document.get("about", ""))),
    )


def on_full_named(text: object) -> OnFull:
    """UsageError where it is none."""
    try:
        return OnFull(str(text).casefold())
    except ValueError:
        raise UsageError(
            msg("{text!r} is no way to go on when the context is full", text=str(text)[:80]),
            hint=msg("one of: {ways}", ways=", ".join(OnFull)),
        ) from None
