"""`localq.chat`: a conversation for Python programs."""

from __future__ import annotations

import queue
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from localq.chat_format.message import ChatMessage, Picture
from localq.closing import Closing
from localq.engine.client import Generation, LoadedModel
from localq.events import JobEvent, Note
from localq.formats.picture import picture_size, read_picture
from localq.library import Library
from localq.services.chat.conversation import Conversation
from localq.services.chat.presets import preset_named, sampling_given
from localq.sessions.preset import DEFAULT

__all__ = ["Chat"]


class Chat(Closing):
    """A loaded model and what was said, in memory alone. Leave it by `with` or `close`.

    `model` is a name or a .gguf file; None: the one used last. `options` are fields of
    SamplingParams, such as temperature. What localq has to warn of becomes a Python warning.
    Errors are those of `localq.errors`.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        system: str | None = None,
        preset: str | None = None,
        n_ctx: int | None = None,
        think: bool | None = None,
        effort: str | None = None,
        **options: Any,
    ) -> None:
        library = Library()
        chosen = DEFAULT if preset is None else preset_named(library.paths, preset)
        given = {name: value for name, value in options.items() if value is not None}
        chosen = replace(chosen, sampling={**chosen.sampling, **given})
        self._options = sampling_given(chosen)
        self._conversation = Conversation.open(
            library,
            model,
            emit=_warn,
            system=system or chosen.system or None,
            n_ctx=n_ctx,
            think=think,
            effort=effort,
            owner="python",
        )
        self.last: Generation | None = None
        """Figures of the last reply; None: there is none yet."""

    @property
    def messages(self) -> tuple[ChatMessage, ...]:
        """What the next reply will take into account."""
        return self._conversation.messages

    @property
    def loaded(self) -> LoadedModel:
        return self._conversation.loaded

    def reply(
        self, text: str, *, images: Sequence[str | Path | bytes] = (), **options: Any
    ) -> Iterator[str]:
        """Say something; the reply comes in pieces. `images` are files, or what is in them. Who
        stops listening (by `break`, or `close` of the iterator) stops the model, and what it had
        said until then stays. `options` go before those given for the whole chat."""
        pictures = [Picture(_picture(image)) for image in images]
        sampling = self._conversation.sampling(**{**self._options, **options})
        pieces: queue.SimpleQueue[str | Generation | BaseException] = queue.SimpleQueue()
        cancel = threading.Event()

        def work() -> None:
            try:
                said = self._conversation.reply(
                    text, sampling, pictures=pictures, cancel=cancel, on_text=pieces.put
                )
                pieces.put(said)
            except BaseException as error:  # it comes out where the pieces do
                pieces.put(error)

        thread = threading.Thread(target=work, name="localq reply", daemon=True)
        thread.start()
        try:
            while isinstance(piece := pieces.get(), str):
                yield piece
            if isinstance(piece, BaseException):
                raise piece
            self.last = piece
        finally:
            cancel.set()
            thread.join()

    def close(self) -> None:
        """Give the model's memory back."""
        self._conversation.close()


def _picture(image: str | Path | bytes) -> bytes:
    if isinstance(image, bytes):
        picture_size(image, "images")
        return image
    return read_picture(Path(image))


def _warn(event: JobEvent) -> None:
    if isinstance(event, Note) and event.warning:
        warnings.warn(event.text, stacklevel=3)
