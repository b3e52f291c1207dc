"""The real services behind the app.

Each is imported when it is first called: the app should be on the screen before that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from localq.events import Emit
from localq.formats.types import QuantType
from localq.tui.services import Chat, Services

if TYPE_CHECKING:
    from localq.engine.client import Generation, LoadedModel
    from localq.library import Library
    from localq.services.chat.conversation import Conversation
    from localq.services.library.inspect import ModelDetails
    from localq.services.make.quantize import QuantizeResult
    from localq.services.pull.pull import Choice, PullResult

__all__ = ["services_of"]


def services_of(library: Library) -> Services:
    """The services of `library`, which any thread may use."""

    def show(name: str) -> ModelDetails:
        from localq.services.library.inspect import show

        return show(library, name)

    def choices() -> Sequence[Choice]:
        from localq.services.pull.pull import choices

        return choices(library)

    def pull(spec: str | None, emit: Emit, cancel: threading.Event) -> PullResult:
        from localq.services.jobs.jobs import recorded
        from localq.services.jobs.kinds.pull import PullKind
        from localq.services.pull.pull import PullRequest

        return recorded(PullKind(), library, PullRequest(spec), emit, cancel)

    def quantize(
        name: str, quant: QuantType, replace: bool, emit: Emit, cancel: threading.Event
    ) -> QuantizeResult:
        from localq.services.jobs.jobs import recorded
        from localq.services.jobs.kinds.quantize import QuantizeKind
        from localq.services.make.quantize import QuantizeRequest

        request = QuantizeRequest(quant, model=name, force=replace)
        return recorded(QuantizeKind(), library, request, emit, cancel)

    def sizes(name: str) -> Mapping[QuantType, int]:
        from localq.services.fit.sizes import sizes_to_make

        return sizes_to_make(library, name)

    def open_chat(name: str, emit: Emit, cancel: threading.Event) -> Chat:
        from localq.services.chat.conversation import Conversation

        return _ConversationChat(
            Conversation.open(library, name, emit=emit, cancel=cancel, owner="app")
        )

    return Services(
        log=library.paths.log / "tui.log",
        models=library.models,
        show=show,
        remove=library.remove,
        choices=choices,
        pull=pull,
        sizes=sizes,
        quantize=quantize,
        open_chat=open_chat,
    )


class _ConversationChat:
    """A conversation whose replies are sampled as the model's makers recommend."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    @property
    def loaded(self) -> LoadedModel:
        return self._conversation.loaded

    def reply(
        self, text: str, *, cancel: threading.Event, on_text: Callable[[str], None]
    ) -> Generation:
        sampling = self._conversation.sampling()
        return self._conversation.reply(text, sampling, cancel=cancel, on_text=on_text)

    def close(self) -> None:
        self._conversation.close()
