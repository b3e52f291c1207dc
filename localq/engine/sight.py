"""What a model makes of a text with pictures in it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

from localq.engine.llama_log import LogTail
from localq.engine.llama_model import LlamaError, LlamaModel
from localq.engine.picture_places import PicturePlaces
from localq.engine.projector import PreparedPicture, Projector
from localq.engine.protocol import Pictures
from localq.engine.settings import LoadSettings
from localq.errors import UsageError
from localq.formats.picture import MAX_TOTAL
from localq.messages import msg

__all__ = ["Sight"]

MAX_PICTURES = 64


class Sight:
    """A model's projector, which is loaded when there is something to see. LlamaError from any
    method; UsageError for what was asked wrongly."""

    def __init__(
        self,
        model: LlamaModel,
        settings: LoadSettings,
        log: LogTail,
        *,
        most_at_once: int,
        on_load: Callable[[Projector], None],
    ) -> None:
        """`most_at_once`: places of a picture that has to be read in one batch."""
        self._model = model
        self._settings = settings
        self._log = log
        self._most = most_at_once
        self._on_load = on_load
        self._projector: Projector | None = None

    def close(self) -> None:
        if self._projector:
            self._projector.close()
        self._projector = None

    def tokens(
        self, text: str, pictures: Pictures, *, add_special: bool, parse_special: bool
    ) -> list[int]:
        """The tokens of a text, with what stands for its pictures."""
        seen = self._prepared(pictures)
        parts = text.split(pictures.mark) if pictures.mark else [text]
        if len(parts) != len(seen) + 1:
            raise UsageError(
                msg(
                    "{pictures} pictures, and {places} places for them in the text",
                    pictures=len(seen),
                    places=len(parts) - 1,
                )
            )
        tokens: list[int] = []
        for number, part in enumerate(parts):
            if number:
                tokens += seen[number - 1].tokens
            if part or not number:
                tokens += self._model.tokenize(
                    part,
                    add_special=add_special and not number,
                    parse_special=parse_special,
                    goes_on=number > 0,
                )
        return tokens

    def places(self, tokens: list[int], pictures: Pictures) -> PicturePlaces:
        """Where in `tokens` the pictures are."""
        chunks = {one.key: one for each in self._prepared(pictures) for one in each.chunks}
        try:
            places = PicturePlaces.of(tokens, chunks)
        except ValueError as error:
            raise UsageError(msg("the prompt has {error}", error=error)) from None
        if places and places.places[-1].end == len(tokens):
            raise UsageError(
                msg("the prompt ends with a picture"), hint=msg("say something about it")
            )
        return places

    def _prepared(self, pictures: Pictures) -> list[PreparedPicture]:
        if not pictures.files:
            return []
        if len(pictures.files) > MAX_PICTURES:
            raise UsageError(
                msg(
                    "{count} pictures; at most {most} can be sent",
                    count=len(pictures.files),
                    most=MAX_PICTURES,
                )
            )
        if sum(map(len, pictures.files)) > MAX_TOTAL * 4 // 3 + 4 * MAX_PICTURES:
            raise UsageError(
                msg("pictures of more than {most} MB together", most=MAX_TOTAL // 10**6)
            )
        projector = self._load()
        seen = []
        for file in pictures.files:
            try:
                data = base64.b64decode(file, validate=True)
            except (binascii.Error, ValueError):
                raise UsageError(msg("a picture that is no base64")) from None
            seen.append(projector.prepare(data))
        for chunk in (chunk for one in seen for chunk in one.chunks):
            if chunk.tokens > self._most and projector.sees_ahead(chunk):
                raise LlamaError(
                    f"a picture takes {chunk.tokens:,} tokens that have to be read at once;"
                    f" this model was loaded to read {self._most:,}"
                )
        return seen

    def _load(self) -> Projector:
        if self._projector is None:
            path = self._settings.projector
            if path is None:
                raise LlamaError(
                    "the model cannot see pictures: it has no projector", unsupported=True
                )
            self._projector = Projector(
                self._model,
                path,
                self._log,
                n_threads=self._settings.n_threads_batch or self._settings.n_threads or 4,
                use_gpu=self._settings.n_gpu_layers != 0,
            )
            self._on_load(self._projector)
        return self._projector
