"""What is said where a model does not fit beside those that stay loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from localq.display import byte_size
from localq.errors import EngineError
from localq.messages import listed, msg
from localq.services.hosting.registry import STATE_TEXTS, WorkerRecord

__all__ = ["no_room"]


def no_room(name: str, lacking: Mapping[str, int], staying: Sequence[WorkerRecord]) -> EngineError:
    """The error for the model `name`: `lacking` bytes on each device, and who holds the rest."""
    size = byte_size(max(lacking.values()))
    if not staying:
        return EngineError(
            msg("{name} takes {size} more than models may take here", name=name, size=size),
            hint=msg("memory_gb in settings.toml is that limit; --force tries it all the same"),
        )
    named = listed(
        msg(
            "{model} ({state}, {owner})",
            model=one.model,
            state=msg("kept loaded") if one.pinned else STATE_TEXTS[one.state],
            owner=one.owner,
        )
        for one in staying
    )
    return EngineError(
        msg(
            "{name} does not fit beside what must stay loaded, {size} are missing: {named}",
            name=name,
            size=size,
            named=named,
        ),
        hint=msg("try again when they are done, or unload one: localq stop MODEL"),
    )
