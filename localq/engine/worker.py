"""The engine's own process: `python -m localq.engine.worker`.

Requests come in on stdin, replies go out on what was stdout; everything llama.cpp prints ends up
on stderr, which the client points at a log file. Three threads: the main one computes; one reads
stdin, so that a cancel is heard and a vanished client ends the process at once, whatever llama.cpp
is doing; one prepares what comes in, so that a long text is tokenised while others grow.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NoReturn, TypeAlias

from localq.engine.bindings import library_folder, llama_cpp
from localq.engine.embedding_job import EmbeddingJob
from localq.engine.llama_log import LogTail
from localq.engine.llama_model import LlamaError
from localq.engine.loaded import Alone, Loaded
from localq.engine.log_output import write_log
from localq.engine.mode import EngineMode, chosen_mode
from localq.engine.protocol import (
    MAX_LINE,
    PROTOCOL,
    Cancel,
    Detokenize,
    Done,
    Embed,
    Failed,
    Generate,
    Load,
    MeasureMemory,
    Part,
    ProtocolError,
    Rank,
    Reply,
    Request,
    Shutdown,
    Tokenize,
    decode_request,
    encode,
)
from localq.engine.resident import resident_memory
from localq.engine.rpc import add_rpc_servers, rpc_servers
from localq.engine.sequence import Sequence
from localq.engine.variants import load_backends
from localq.errors import LocalqError, UsageError

__all__ = ["Worker", "main"]

_Together: TypeAlias = Sequence | EmbeddingJob
"""What is done at the same time as others of its kind."""

_SPINS = "30000"
"""How often a thread of GNU OpenMP looks whether the others are done before it sleeps. The usual
300,000 keep a core busy for milliseconds: where others compute too, that takes from them, and from
the very thread that is waited for, the time to get there. Read when the library is loaded. Not
where a device takes turns with the processor: waking up again and again would cost more."""


@dataclass(frozen=True, slots=True)
class _Alone:
    """A request that waits until nothing else is done, while those behind it wait for it."""

    id: int
    request: Load | Alone
    cancelled: threading.Event
    done: threading.Event = field(default_factory=threading.Event)


class Worker:
    """Answers requests. `requests` and `replies` are the two ends of the client's pipes."""

    def __init__(self, requests: BinaryIO, replies: BinaryIO) -> None:
        self._requests = requests
        self._replies = replies
        self._write_lock = threading.Lock()
        self._arrived: queue.SimpleQueue[tuple[int, Request]] = queue.SimpleQueue()
        self._prepared: queue.SimpleQueue[_Together | _Alone] = queue.SimpleQueue()
        self._cancels: dict[int, threading.Event] = {}
        self._alone: int | None = None
        """The request that has everything to itself."""
        self._api: Any = None
        self._log: LogTail | None = None
        self._loaded: Loaded | None = None

    def run(self) -> NoReturn:
        """Serve until the client shuts the engine down or vanishes."""
        for work in (self._listen, self._prepare):
            threading.Thread(target=work, name=work.__name__, daemon=True).start()
        waiting: deque[_Together | _Alone] = deque()
        while True:
            loaded = self._loaded
            if not waiting and not (loaded and loaded.busy):
                waiting.append(self._prepared.get())
            while not self._prepared.empty():
                waiting.append(self._prepared.get())
            while waiting and not isinstance(waiting[0], _Alone):
                assert loaded
                loaded.add(waiting.popleft())  # type: ignore[arg-type]
            if loaded and loaded.busy:
                self._step(loaded.step)
            elif waiting:
                self._do_alone(waiting.popleft())  # type: ignore[arg-type]

    def _step(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception:
            # What the texts' state is now nobody knows: end, and let the client say so.
            write_log(traceback.format_exc())
            os._exit(70)

    def _do_alone(self, work: _Alone) -> None:
        self._alone = work.id
        self._answer(work.id, lambda: self._answer_alone(work))
        self._alone = None
        work.done.set()

    def _answer_alone(self, work: _Alone) -> Reply:
        if isinstance(work.request, Load):
            return self._load(work.request)
        if self._loaded is None:
            return Failed("no model is loaded")
        return self._loaded.answer(work.request, work.cancelled.is_set)

    def _answer(self, id_: int, answer: Callable[[], Reply | None]) -> None:
        """Send what `answer` gives, or what it raises; None is for later."""
        reply: Reply | None
        try:
            reply = answer()
        except LlamaError as error:
            reply = Failed(str(error), kind="unsupported" if error.unsupported else "engine")
        except UsageError as error:
            reply = Failed(error.message, hint=error.hint, kind="usage")
        except MemoryError:
            reply = Failed("not enough memory for this request")
        except Exception as error:
            write_log(traceback.format_exc())
            reply = Failed(f"the engine has a defect: {type(error).__name__}: {error}")
        if reply is not None:
            self._finish(id_, reply)

    def _finish(self, id_: int, reply: Reply) -> None:
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
                    self._cancel(target)
                    self._send(id_, Done())
                case _ if id_ in self._cancels:
                    self._send(id_, Failed(f"request {id_} is still being done", kind="protocol"))
                case _:
                    self._cancels[id_] = threading.Event()
                    self._arrived.put((id_, request))
        _exit()

    def _skip_line(self) -> None:
        while (rest := self._requests.readline(1 << 20)) and not rest.endswith(b"\n"):
            continue
        self._send(None, Failed(f"a line of more than {MAX_LINE:,} bytes", kind="protocol"))

    def _cancel(self, target: int) -> None:
        if event := self._cancels.get(target):
            event.set()
            if loaded := self._loaded:
                loaded.hurry(target, alone=self._alone == target)

    def _prepare(self) -> NoReturn:
        """Do what needs no computation, and make the rest ready for it, in the order of arrival."""
        while True:
            id_, request = self._arrived.get()
            self._answer(id_, lambda id_=id_, request=request: self._prepare_one(id_, request))  # type: ignore[misc]

    def _prepare_one(self, id_: int, request: Request) -> Reply | None:
        cancelled = self._cancels[id_]
        match request:
            case MeasureMemory():
                return resident_memory()
            case Tokenize() | Detokenize() | Generate() | Embed() | Rank():
                if self._loaded is None:
                    return Failed("no model is loaded")
                if isinstance(request, Tokenize):
                    return self._loaded.tokenize(request)
                if isinstance(request, Detokenize):
                    return self._loaded.detokenize(request)
                prepared: _Together | Failed
                if isinstance(request, Generate):
                    prepared = self._loaded.prepare(id_, request, cancelled)
                else:
                    prepared = self._loaded.prepare_embedding(id_, request, cancelled)
                if isinstance(prepared, Failed):
                    return prepared
                self._prepared.put(prepared)
            case Cancel() | Shutdown():
                return Failed(f"{type(request).__name__} is not for this thread", kind="protocol")
            case _:
                work = _Alone(id_, request, cancelled)
                self._prepared.put(work)
                work.done.wait()  # the model may be another one afterwards
        return None

    def _load(self, request: Load) -> Reply:
        if request.protocol != PROTOCOL:
            return Failed(
                f"the engine speaks version {PROTOCOL} of its protocol, not {request.protocol}",
                hint="localq was updated meanwhile: start it again",
                kind="protocol",
            )
        started = time.perf_counter()
        if self._loaded:
            self._loaded.close()
            self._loaded = None
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
            self._loaded = loaded = Loaded(self._api, request.settings, self._log, self._reply)
        except LlamaError as error:
            return Failed(f"{request.settings.path}: cannot be loaded: {error}")
        return loaded.describe(time.perf_counter() - started)

    def _reply(self, id_: int, reply: Reply) -> None:
        """A reply of a text that is being generated or embedded."""
        if isinstance(reply, Part):
            self._send(id_, reply)
        else:
            self._finish(id_, reply)


def _exit() -> NoReturn:
    """End the process from any thread; the system takes the memory back faster than llama.cpp."""
    write_log("")
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
