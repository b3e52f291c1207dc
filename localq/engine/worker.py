"""The engine's own process: `python -m localq.engine.worker`.

Requests come in on stdin, replies go out on what was stdout; everything llama.cpp prints ends up
on stderr, which the client points at a log file. Two threads: the main one does the work in
order, the other reads stdin, so that a cancel is heard and a vanished client ends the process at
once, whatever llama.cpp is doing.
"""

from __future__ import annotations

import os
import queue
import secrets
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from localq.engine.adapt import ThreadAdapter
from localq.engine.bindings import library_folder, llama_cpp
from localq.engine.generation import continue_prompt
from localq.engine.llama_log import LogTail
from localq.engine.llama_model import Interrupted, LlamaError, LlamaModel
from localq.engine.measuring import measure
from localq.engine.mode import EngineMode, chosen_mode
from localq.engine.protocol import (
    MAX_LINE,
    Cancel,
    Done,
    Failed,
    Generate,
    Load,
    LoadedModel,
    Logits,
    Measure,
    MeasureMemory,
    Observe,
    Piece,
    ProtocolError,
    Reply,
    Request,
    SaveActivations,
    Shutdown,
    Tokenize,
    Tokens,
    decode_request,
    encode,
)
from localq.engine.resident import resident_memory
from localq.engine.rpc import add_rpc_servers, rpc_servers
from localq.engine.settings import LoadSettings
from localq.engine.variants import load_backends
from localq.errors import LocalqError

if TYPE_CHECKING:
    from localq.engine.activations import Observation

__all__ = ["Worker", "main"]

_SPINS = "30000"
"""How often a thread of GNU OpenMP looks whether the others are done before it sleeps. The usual
300,000 keep a core busy for milliseconds: where others compute too, that takes from them, and from
the very thread that is waited for, the time to get there. Read when the library is loaded. Not
where a device takes turns with the processor: waking up again and again would cost more."""


class Worker:
    """Answers requests. `requests` and `replies` are the two ends of the client's pipes."""

    def __init__(self, requests: BinaryIO, replies: BinaryIO) -> None:
        self._requests = requests
        self._replies = replies
        self._write_lock = threading.Lock()
        self._waiting: queue.SimpleQueue[tuple[int, Request]] = queue.SimpleQueue()
        self._cancels: dict[int, threading.Event] = {}
        self._api: Any = None
        self._log: LogTail | None = None
        self._model: LlamaModel | None = None
        self._adapter: ThreadAdapter | None = None
        self._observation: Observation | None = None

    def run(self) -> NoReturn:
        """Serve until the client shuts the engine down or vanishes."""
        threading.Thread(target=self._listen, name="requests", daemon=True).start()
        while True:
            id_, request = self._waiting.get()
            try:
                reply = self._answer(id_, request)
            except LlamaError as error:
                reply = Failed(str(error), kind="unsupported" if error.unsupported else "engine")
            except Exception as error:
                traceback.print_exc()
                reply = Failed(f"the engine has a defect: {type(error).__name__}: {error}")
            self._cancels.pop(id_, None)
            self._send(id_, reply)

    def _send(self, id_: int | None, reply: Reply) -> None:
        try:
            with self._write_lock:
                self._replies.write(encode(id_, reply))
                self._replies.flush()
        except OSError:
            _exit()

    def _listen(self) -> NoReturn:
        while line := self._requests.readline(MAX_LINE):
            if not line.endswith(b"\n"):
                self._skip_line()
                continue
            try:
                id_, request = decode_request(line)
            except ProtocolError as error:
                self._send(error.id, Failed(str(error), kind="protocol"))
                continue
            match request:
                case Shutdown():
                    self._send(id_, Done())
                    _exit()
                case Cancel(target):
                    if event := self._cancels.get(target):
                        event.set()
                    self._send(id_, Done())
                case _ if id_ in self._cancels:
                    self._send(id_, Failed(f"request {id_} is still being done", kind="protocol"))
                case _:
                    self._cancels[id_] = threading.Event()
                    self._waiting.put((id_, request))
        _exit()

    def _skip_line(self) -> None:
        while (rest := self._requests.readline(1 << 20)) and not rest.endswith(b"\n"):
            continue
        self._send(None, Failed(f"a line of more than {MAX_LINE:,} bytes", kind="protocol"))

    def _answer(self, id_: int, request: Request) -> Reply:
        if isinstance(request, Load):
            return self._load(request)
        if isinstance(request, MeasureMemory):
            return resident_memory()
        model = self._model
        if model is None:
            return Failed("no model is loaded")
        cancelled = self._cancels[id_].is_set
        match request:
            case Tokenize(text, add_special, parse_special):
                tokens = model.tokenize(text, add_special=add_special, parse_special=parse_special)
                return Tokens(tuple(tokens))
            case Generate():
                return self._generate(id_, model, request)
            case Logits(tokens, output):
                if too_long := _too_long(len(tokens), model, room=0):
                    return too_long
                model.check_generates()
                try:
                    with output.open("wb") as file:
                        model.write_logits(tokens, file, cancelled)
                except Interrupted:
                    return Failed("cancelled")
                except OSError as error:
                    return _cannot_write(output, error)
                return Done()
            case Measure():
                if too_long := _too_long(max(request.n_prompt, request.n_generate), model, room=0):
                    return too_long
                model.check_generates()
                return measure(model, request, cancelled)
            case Observe(tokens):
                if too_long := _too_long(len(tokens), model, room=0):
                    return too_long
                return self._observe(model, tokens, cancelled)
            case SaveActivations(output):
                if self._observation is None:
                    return Failed("nothing has been observed")
                try:
                    self._observation.save(output)
                except OSError as error:
                    return _cannot_write(output, error)
                return Done()
        return Failed(f"{type(request).__name__} is not for this thread", kind="protocol")

    def _load(self, request: Load) -> Reply:
        started = time.perf_counter()
        if self._model:
            self._model.close()
            self._model = self._observation = None
        if self._api is None:
            if request.settings.n_gpu_layers == 0 and "OMP_WAIT_POLICY" not in os.environ:
                os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
            try:
                self._api = llama_cpp()
            except (ImportError, OSError, RuntimeError) as error:
                return Failed(
                    f"llama.cpp cannot be loaded: {error}",
                    hint="localq hardware gives the command that installs it anew",
                )
            self._log = LogTail(self._api)
            try:
                load_backends(self._api, chosen_mode() or EngineMode())
                self._api.llama_backend_init()
                add_rpc_servers(library_folder(self._api), rpc_servers())
            except LocalqError as error:
                self._api = None
                return Failed(error.message, hint=error.hint)
        assert self._log
        try:
            self._model = model = LlamaModel(self._api, request.settings, self._log)
        except LlamaError as error:
            return Failed(f"{request.settings.path}: cannot be loaded: {error}")
        self._adapter = None
        if request.settings.adapt_threads:
            most = max(model.n_threads, model.n_threads_batch)
            self._adapter = ThreadAdapter(model.n_threads, most)
        return _loaded(model, request.settings, time.perf_counter() - started)

    def _observe(
        self, model: LlamaModel, tokens: tuple[int, ...], cancelled: Callable[[], bool]
    ) -> Reply:
        from localq.engine.activations import Observation  # imports numpy

        model.check_generates()
        if self._observation is None:
            self._observation = Observation(self._api, model)
        try:
            self._observation.read(tokens, cancelled)
        except Interrupted:
            return Failed("cancelled")
        return Done()

    def _generate(self, id_: int, model: LlamaModel, request: Generate) -> Reply:
        model.check_generates()
        sampling = request.sampling
        prompt = request.prompt
        if isinstance(prompt, str):
            prompt = tuple(model.tokenize(prompt, add_special=True, parse_special=True))
        if not prompt:
            return Failed("there is nothing to continue: the prompt is empty")
        if too_long := _too_long(len(prompt), model, room=1):
            return too_long
        seed = secrets.randbelow(2**32 - 1) if sampling.seed is None else sampling.seed
        return continue_prompt(
            model,
            prompt,
            sampling,
            seed,
            adapter=self._adapter,
            on_text=lambda text: self._send(id_, Piece(text)),
            cancelled=self._cancels[id_].is_set,
        )


def _loaded(model: LlamaModel, settings: LoadSettings, seconds: float) -> LoadedModel:
    resident = resident_memory()
    return LoadedModel(
        n_ctx=model.n_ctx,
        n_ctx_train=model.n_ctx_train,
        n_vocab=model.n_vocab,
        n_threads=model.n_threads,
        description=model.description,
        load_seconds=seconds,
        n_threads_batch=model.n_threads_batch,
        n_batch=model.n_batch,
        n_ubatch=model.n_ubatch,
        n_gpu_layers=model.n_gpu_layers,
        type_k=settings.type_k,
        type_v=settings.type_v,
        flash_attn=model.flash_attn,
        n_seq_max=settings.n_seq_max,
        build=_build(),
        memory=model.memory,
        resident_bytes=resident.resident_bytes,
        anonymous_bytes=resident.anonymous_bytes,
    )


def _build() -> str:
    name = "llama-cpp-python"
    mode = chosen_mode() or EngineMode()
    how = "" if mode == EngineMode() else f" ({mode})"  # which is a matter of speed, too
    try:
        return f"{name} {version(name)}{how}"
    except PackageNotFoundError:
        return f"{name}{how}"


def _cannot_write(output: Path, error: OSError) -> Failed:
    return Failed(f"{output}: cannot be written: {error.strerror or error}", kind="storage")


def _too_long(count: int, model: LlamaModel, *, room: int) -> Failed | None:
    if count + room <= model.n_ctx:
        return None
    return Failed(
        f"the prompt is {count:,} tokens long; the context holds {model.n_ctx:,}",
        hint="shorten it, or load the model with a larger context",
    )


def _exit() -> NoReturn:
    """End the process from any thread; the system takes the memory back faster than llama.cpp."""
    sys.stderr.flush()
    os._exit(0)


def main() -> NoReturn:
    # Ctrl-C in the terminal is for the client, which then asks to cancel.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["GGML_NO_BACKTRACE"] = "1"  # it would start a debugger to print one
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    Worker(sys.stdin.buffer, replies).run()


if __name__ == "__main__":
    main()
