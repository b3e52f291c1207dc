"""llama.cpp's mtmd: turns pictures into what a model reads in the place of tokens.

Only the engine's own process uses this. A projector's file comes from anywhere, and mtmd may end
the process over it, as over a picture: both are looked at before they get there.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localq.engine.llama_log import LogTail
from localq.engine.llama_model import LlamaError, LlamaModel
from localq.engine.picture_tokens import picture_entries
from localq.errors import LocalqError, UsageError
from localq.formats.picture import picture_size
from localq.formats.projector import read_projector
from localq.messages import msg

__all__ = ["EncodedPicture", "PictureChunk", "PreparedPicture", "Projector"]

_LOOK_EVERY = 16
"""Steps of the computation between two looks at whether it was cancelled."""
_KEPT = 8
"""Pictures that are remembered as prepared: a conversation sends them again with every turn."""
_KEEP_BYTES = 64 << 20
_TEXT, _IMAGE = 0, 1
_NO_FFMPEG = b"/nonexistent"
"""mtmd takes what is no picture for a film, and starts a program for it."""


@dataclass(frozen=True, slots=True)
class PictureChunk:
    """A part of a picture that the model reads at once, and mtmd's handle of it."""

    key: int
    handle: Any
    tokens: int
    """Places that it takes."""


@dataclass(frozen=True, slots=True)
class PreparedPicture:
    """`tokens` stand for it in a text: its parts, and what the model wants around them."""

    tokens: tuple[int, ...]
    chunks: tuple[PictureChunk, ...]
    nbytes: int


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """`numbers` is a ctypes array of floats."""

    chunk: PictureChunk
    numbers: Any


class Projector:
    """One projector for one loaded model. `prepare` may be called from another thread than
    `encode`, and `decode` from a third. LlamaError from any method; UsageError from `prepare` for
    what is no picture."""

    def __init__(
        self, model: LlamaModel, path: Path, log: LogTail, *, n_threads: int, use_gpu: bool
    ) -> None:
        try:
            read_projector(path)
        except LocalqError as error:
            raise LlamaError(str(error)) from error
        try:
            self._mtmd = mtmd = importlib.import_module("llama_cpp.mtmd_cpp")
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            raise LlamaError(
                f"this build of llama.cpp reads no pictures: {error}", unsupported=True
            ) from error
        self._api = model.api
        self._model = model
        self._log = log
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, PreparedPicture] = OrderedDict()
        self._cancelled: Callable[[], bool] = lambda: False
        self._steps = 0
        self._look = self._api.ggml_backend_sched_eval_callback(self._go_on)
        mtmd.mtmd_log_set(log.callback, None)
        mtmd.mtmd_helper_log_set(log.callback, None)
        params = mtmd.mtmd_context_params_default()
        params.use_gpu = use_gpu
        params.n_threads = n_threads
        params.print_timings = False
        params.warmup = False  # it would compute a picture of the largest size
        params.cb_eval = self._look
        log.clear()
        with log.recorded() as self._lines:
            self.handle = mtmd.mtmd_init_from_file(os.fsencode(path), model.handle, params)
        if not self.handle:
            reason = log.reason(msg("llama.cpp gave no reason"))
            raise LlamaError(f"{path}: cannot be used with this model: {reason}")
        if not mtmd.mtmd_support_vision(self.handle):
            self.close()
            raise LlamaError(f"{path}: is not for pictures", unsupported=True)
        self._options = mtmd.mtmd_helper_init_opt_default()
        self._options.video_params.ffmpeg_bin_dir = _NO_FFMPEG

    def close(self) -> None:
        """Give the memory back. The object is of no use afterwards."""
        self._known.clear()
        if self.handle:
            self._mtmd.mtmd_free(self.handle)
        self.handle = None

    def prepare(self, data: bytes) -> PreparedPicture:
        """A picture file, decoded and cut as the model wants it."""
        digest = hashlib.sha256(data).digest()
        with self._lock:
            if known := self._known.get(digest):
                self._known.move_to_end(digest)
                return known
            prepared = self._prepare(data, digest)
            self._known[digest] = prepared
            while len(self._known) > _KEPT or (
                len(self._known) > 1 and sum(p.nbytes for p in self._known.values()) > _KEEP_BYTES
            ):
                self._known.popitem(last=False)
            return prepared

    def _prepare(self, data: bytes, digest: bytes) -> PreparedPicture:
        mtmd = self._mtmd
        try:
            size = picture_size(data, msg("the picture"))
        except LocalqError as error:
            raise UsageError(error.message, hint=error.hint) from error
        buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        found = mtmd.mtmd_helper_bitmap_init_from_buf_wrapper(
            self.handle, buffer, len(data), False, self._options
        )
        if found.video_ctx:
            mtmd.mtmd_helper_video_free(found.video_ctx)
        bitmap = found.bitmap
        try:
            if not bitmap or found.video_ctx:
                raise UsageError(msg("the picture is damaged: it cannot be decoded"))
            pixels = mtmd.mtmd_bitmap_get_nx(bitmap), mtmd.mtmd_bitmap_get_ny(bitmap)
            if mtmd.mtmd_bitmap_is_audio(bitmap) or pixels != (size.width, size.height):
                raise UsageError(msg("the picture is damaged: it is not what its header says"))
            return self._cut(bitmap, digest, 3 * size.width * size.height)
        finally:
            if bitmap:
                mtmd.mtmd_bitmap_free(bitmap)

    def _cut(self, bitmap: Any, digest: bytes, nbytes: int) -> PreparedPicture:
        mtmd = self._mtmd
        part = mtmd.mtmd_input_part(None, bitmap)
        parts = (ctypes.POINTER(mtmd.mtmd_input_part) * 1)(ctypes.pointer(part))
        chunks = mtmd.mtmd_input_chunks_init()
        self._log.clear()
        try:
            if mtmd.mtmd_tokenize_from_parts(self.handle, chunks, parts, 1, False):
                reason = self._log.reason(msg("llama.cpp gave no reason"))
                raise UsageError(msg("the picture cannot be read: {reason}", reason=reason))
            tokens: list[int] = []
            found: list[PictureChunk] = []
            for index in range(mtmd.mtmd_input_chunks_size(chunks)):
                chunk = mtmd.mtmd_input_chunks_get(chunks, index)
                kind = mtmd.mtmd_input_chunk_get_type(chunk)
                if kind == _TEXT:
                    count = ctypes.c_size_t()
                    ids = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
                    tokens += ids[: count.value]
                elif kind == _IMAGE:
                    one = self._chunk(chunk, digest, len(found))
                    positions = mtmd.mtmd_input_chunk_get_n_pos(chunk)
                    tokens += picture_entries(one.key, one.tokens, positions)
                    found.append(one)
                else:
                    raise LlamaError("the picture cannot be read: it is none")
        finally:
            mtmd.mtmd_input_chunks_free(chunks)
        if not found:
            raise LlamaError("the picture cannot be read: nothing is left of it")
        return PreparedPicture(tuple(tokens), tuple(found), nbytes)

    def _chunk(self, chunk: Any, digest: bytes, index: int) -> PictureChunk:
        mtmd = self._mtmd
        hashed = hashlib.sha256(digest + index.to_bytes(4, "little")).digest()
        handle = ctypes.c_void_p(mtmd.mtmd_input_chunk_copy(chunk))
        made = _Handle(handle)
        weakref.finalize(made, mtmd.mtmd_input_chunk_free, handle)
        count = mtmd.mtmd_input_chunk_get_n_tokens(chunk)
        return PictureChunk(int.from_bytes(hashed[:16], "little"), made, count)

    def encode(self, chunk: PictureChunk, cancelled: Callable[[], bool]) -> EncodedPicture | None:
        """Compute what the model reads; None where it was cancelled. One at a time."""
        mtmd = self._mtmd
        self._cancelled, self._steps = cancelled, 0
        status = mtmd.mtmd_encode_chunk(self.handle, chunk.handle.value)
        if cancelled():
            return None
        if status:
            raise LlamaError("the picture could not be computed")
        count = self._api.llama_model_n_embd_inp(self._model.handle) * chunk.tokens
        numbers = (ctypes.c_float * count)()
        ctypes.memmove(numbers, mtmd.mtmd_get_output_embd(self.handle), 4 * count)
        return EncodedPicture(chunk, numbers)

    def decode(
        self, context: Any, picture: EncodedPicture, position: int, sequence: int, n_batch: int
    ) -> int:
        """Let a sequence read it at `position`; llama_decode's status. `context` is llama.cpp's."""
        mtmd = self._mtmd
        after = self._api.llama_pos(0)
        return int(
            mtmd.mtmd_helper_decode_image_chunk(
                self.handle,
                context,
                picture.chunk.handle.value,
                picture.numbers,
                position,
                sequence,
                n_batch,
                ctypes.byref(after),
                mtmd.mtmd_helper_post_decode_callback(0),
                None,
            )
        )

    def sees_ahead(self, chunk: PictureChunk) -> bool:
        """Whether all of it has to be computed in one batch."""
        return bool(self._mtmd.mtmd_decode_use_non_causal(self.handle, chunk.handle.value))

    def _go_on(self, _tensor: object, asks: bool, _data: object) -> bool:
        """Called before each step, whether it should be shown, and for those after it, whether to
        go on. Every so many are shown, only for the second answer."""
        if not asks:
            return not self._cancelled()
        self._steps += 1
        return self._steps % _LOOK_EVERY == 0


class _Handle:
    """mtmd's pointer, which is freed when nothing has it any more."""

    def __init__(self, pointer: Any) -> None:
        self.value = pointer
