"""How a model is told whether, and how long, to think before it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from localq.chat_format.message import ChatMessage
from localq.chat_format.template import ChatTemplate

__all__ = ["ThinkingControl", "thinking_control"]

_EFFORTS = ("reasoning_effort", "thinking_effort", "reasoning_strength")
_SWITCHES = ("enable_thinking", "thinking")


@dataclass(frozen=True, slots=True)
class ThinkingControl:
    """What a template makes of it."""

    switches: tuple[str, ...] = ()
    """Variables that are true or false."""
    efforts: tuple[str, ...] = ()
    """Variables that are low, medium, high, ..."""
    budget: bool = False
    """`thinking_budget`, in tokens; 0: none."""
    mode: bool = False
    """`thinking_mode`: enabled or disabled."""
    flags: bool = False
    """/think and /no_think in the system message."""

    @property
    def can_switch(self) -> bool:
        """Whether thinking can be turned off."""
        return bool(self.switches or self.budget or self.mode or self.flags)

    @property
    def takes_effort(self) -> bool:
        """Whether it makes a difference how much thinking is asked for."""
        return bool(self.efforts) or self.can_switch

    def variables(self, think: bool | None = None, effort: str | None = None) -> dict[str, Any]:
        """The template's variables that say so; None: as the template has it by itself. Effort
        "none" turns thinking off, any other on."""
        think = self._asked(think, effort)
        effort = None if effort == "none" else effort
        given: dict[str, Any] = {}
        if think is not None:
            given |= dict.fromkeys(self.switches, think)
            if self.mode:
                given["thinking_mode"] = "enabled" if think else "disabled"
            if self.budget:
                given["thinking_budget"] = -1 if think else 0
            if not think and self.efforts and not self.can_switch:
                effort = "low"  # as little as it can
        if effort is not None:
            given |= dict.fromkeys(self.efforts, effort)
        return given

    def messages(
        self, messages: Sequence[ChatMessage], think: bool | None, effort: str | None = None
    ) -> Sequence[ChatMessage]:
        """The messages with what says so in the system message, where no variable does."""
        think = self._asked(think, effort)
        if think is None or self.switches or not self.flags:
            return messages
        flag = "/think" if think else "/no_think"
        if messages and messages[0].role == "system":
            first = messages[0]
            return [replace(first, content=f"{first.content}\n{flag}"), *messages[1:]]
        return [ChatMessage("system", flag), *messages]

    def _asked(self, think: bool | None, effort: str | None) -> bool | None:
        if effort == "none":
            return False
        if effort is not None and think is None and not self.efforts:
            return True
        return think


def thinking_control(template: ChatTemplate) -> ThinkingControl:
    variables = template.variables
    return ThinkingControl(
        switches=tuple(name for name in _SWITCHES if name in variables),
        efforts=tuple(name for name in _EFFORTS if name in variables),
        budget="thinking_budget" in variables,
        mode="thinking_mode" in variables,
        flags="/no_think" in template.source,
    )
