"""An engine whose tokens are characters and whose replies are a list."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from localq.chat_format.template import ChatTemplate
from localq.engine.client import Generation, LoadedModel, SamplingParams
from localq.engine.protocol import Pictures
from localq.events import Emit, ignore
from localq.library import Model, ModelFormat, ModelSource
from localq.services.chat.chat_model import ChatModel
from tests.chat.test_chat_template import CHATML

__all__ = ["BOS", "FakeEngine", "fake_chat_model"]

BOS = 1


class FakeEngine:
    """One token per character, BOS in front; answers from a list. A reply that is callable is
    called with what takes its pieces."""

    def __init__(self, replies: Sequence[str | Exception | Callable[..., str]]) -> None:
        self.replies = list(replies)
        self.prompts: list[str] = []
        self.sampling: list[SamplingParams] = []
        self.closed = False

    def revive(self, *, cancel: threading.Event | None = None) -> bool:
        return False

    def tokenize(
        self,
        text: str,
        *,
        add_special: bool = True,
        parse_special: bool = True,
        pictures: Pictures | None = None,
    ) -> list[int]:
        tokens = [BOS if c == "^" else 1000 + ord(c) for c in text]
        return [BOS, *tokens] if add_special else tokens

    def generate(
        self,
        prompt: str | Sequence[int],
        sampling: SamplingParams,
        *,
        pictures: Pictures | None = None,
        cancel: threading.Event | None = None,
        on_text: Callable[[str], None],
    ) -> Generation:
        assert not isinstance(prompt, str)
        assert list(prompt[:2]) != [BOS, BOS]
        self.prompts.append("".join("^" if t == BOS else chr(t - 1000) for t in prompt))
        self.sampling.append(sampling)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        if callable(reply):
            reply = reply(on_text)
        elif cancel and cancel.is_set():
            if reply:
                on_text(reply[:1])
            return Generation(reply[:1], len(prompt), 1, 0, 0, "cancelled")
        else:
            on_text(reply)
        if cancel and cancel.is_set():
            return Generation(reply, len(prompt), len(reply), 0, 0, "cancelled")
        return Generation(reply, len(prompt), len(reply), 0, 0.5, "eos")

    def close(self) -> None:
        self.closed = True


def fake_chat_model(
    engine: FakeEngine,
    *,
    template: str | None = CHATML,
    n_ctx: int = 1000,
    bos: str = "^",
    effort: str | None = None,
    emit: Emit = ignore,
) -> ChatModel:
    """A model "m" that the engine plays."""
    source = ModelSource(None, None)
    model = Model("m", ModelFormat.GGUF, "Q4_0", "llama", 1, 1, Path("m.gguf"), source, 0, 0)
    return ChatModel(
        engine,
        model,
        LoadedModel(n_ctx, n_ctx, 10, 1, "", 0),
        ChatTemplate(template, bos, "$") if template else None,
        effort=effort,
        emit=emit,
    )
