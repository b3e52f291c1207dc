"""What the tests of the terminal app share: services that do as told, and a stopped clock."""

from __future__ import annotations

import asyncio
import html
import json
import queue
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import Any, Generic, Literal, ParamSpec, TypeVar

from rich.cells import cell_len
from textual.app import App
from textual.pilot import Pilot
from textual.screen import Screen

from localq.chat_format.template import ChatTemplate
from localq.engine.client import Generation, LoadedModel, SamplingParams
from localq.engine.protocol import Pictures
from localq.errors import Cancelled, LocalqError, UnsupportedError
from localq.events import Emit
from localq.formats.types import QuantType
from localq.hardware.profile import HardwareProfile
from localq.hub.search import FoundModel
from localq.jobs import Draft, Job, JobState, JobStore
from localq.library import Library
from localq.library.model import Model, ModelFormat, ModelSource, Removed
from localq.liveness import LivenessLock
from localq.paths import Paths
from localq.services.chat.chat_model import ChatModel
from localq.services.chat.session_chat import SessionChat
from localq.services.fit.fit import FitResult
from localq.services.library.inspect import ModelDetails, TensorDetails
from localq.services.pull.pull import Choice
from localq.sessions import SessionStore
from localq.tui.app import LocalqApp
from localq.tui.clock import Clock
from localq.tui.screens.library import LibraryScreen
from localq.tui.services import Services, services_of
from localq.tui.services.chat import ChatServices
from localq.tui.services.hub import HubAccess, HubServices
from localq.tui.services.jobs import JobServices
from localq.tui.services.library import LibraryServices
from localq.tui.services.machine import Fitting, Loading, MachineServices
from localq.tui.widgets.notice import Notice

__all__ = [
    "NOW",
    "Fakes",
    "Script",
    "ScriptEngine",
    "StoppedClock",
    "asynchronous",
    "checkpoint",
    "generation",
    "gguf",
    "library",
    "notice_text",
    "screen_text",
    "scripted_model",
    "svg_text",
    "until",
]

NOW = 1_790_000_000.0
"""The time in all tests, unix seconds."""
_PATIENCE = 20.0
"""Seconds after which a test gives up; nothing waits this long unless something is broken."""

_END = "\x1e"
_TEMPLATE = "{% for m in messages %}{{ m.content }}\x1e{% endfor %}"
"""Of the scripted models: each message and a mark at its end."""
_TEXT_ELEMENT = re.compile(r'<text class="[^"]*-r\d+" x="([^"]*)" y="([^"]*)"[^>]*>(.*?)</text>')
_CELL_WIDTH = 12.2
"""Of a cell in rich's SVG."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def asynchronous(
    test: Callable[Arguments, Coroutine[Any, Any, None]],
) -> Callable[Arguments, None]:
    """Lets pytest run an async test."""

    @wraps(test)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


async def until(
    pilot: Pilot[None], condition: Callable[[], bool], patience: float = _PATIENCE
) -> None:
    """Let the app run until `condition` holds, and then until it has drawn that."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain at\n{screen_text(pilot.app)}"
        await asyncio.sleep(0.005)
    await pilot.pause()


def library(app: App[Any]) -> LibraryScreen:
    """The screen at the bottom of the stack."""
    screen = app.screen_stack[0]
    assert isinstance(screen, LibraryScreen)
    return screen


def notice_text(screen: Screen[Any]) -> str | None:
    """What the screen's notice says, if it is shown."""
    notice = screen.query(Notice).first()
    return str(notice.content) if notice.has_class("-shown") else None


def screen_text(app: App[Any]) -> str:
    """What can be read on the terminal, line by line."""
    return svg_text(app.export_screenshot())


def svg_text(svg: str) -> str:
    """What can be read in a picture of the terminal."""
    rows: dict[float, list[tuple[float, str]]] = {}
    for x, y, text in _TEXT_ELEMENT.findall(svg):
        rows.setdefault(float(y), []).append((float(x), html.unescape(text).replace("\xa0", " ")))
    lines = []
    for _, pieces in sorted(rows.items()):
        line = ""
        for x, text in sorted(pieces):
            line += " " * (round(x / _CELL_WIDTH) - cell_len(line)) + text
        lines.append(line.rstrip())
    return "\n".join(lines)


@dataclass
class StoppedClock:
    """Time passes only when a test says so."""

    seconds: float = 0.0

    def clock(self) -> Clock:
        return Clock(now=lambda: NOW + self.seconds, ticks=lambda: self.seconds)


class Script(Generic[Result]):
    """What a fake service does when it is called: the steps that the test puts in, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self._steps: queue.Queue[Callable[[Emit, threading.Event], Result | None]] = queue.Queue()

    def emit(self, *events: Any) -> None:
        def step(emit: Emit, cancel: threading.Event) -> None:
            for event in events:
                emit(event)

        self._steps.put(step)

    def finish(self, result: Result) -> None:
        def step(emit: Emit, cancel: threading.Event) -> Result:
            return result

        self._steps.put(step)

    def fail(self, error: Exception) -> None:
        def step(emit: Emit, cancel: threading.Event) -> None:
            raise error

        self._steps.put(step)

    def wait_for_cancel(self) -> None:
        def step(emit: Emit, cancel: threading.Event) -> None:
            assert cancel.wait(_PATIENCE), "nobody asked the job to stop"
            raise Cancelled

        self._steps.put(step)

    def wait_for_cancel_then(self, result: Result) -> None:
        def step(emit: Emit, cancel: threading.Event) -> Result:
            assert cancel.wait(_PATIENCE), "nobody asked the job to stop"
            return result

        self._steps.put(step)

    def run(self, call: tuple[object, ...], emit: Emit, cancel: threading.Event) -> Result:
        self.calls.append(call)
        while True:
            result = self._steps.get(timeout=_PATIENCE)(emit, cancel)
            if result is not None:
                return result


@dataclass
class ScriptEngine:
    """An engine whose replies are written by a Script; its tokens are characters."""

    script: Script[Generation]
    emit: Emit
    closed: threading.Event = field(default_factory=threading.Event)

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
        return [ord(character) for character in text]

    def generate(
        self,
        prompt: str | Sequence[int],
        sampling: SamplingParams,
        *,
        pictures: Pictures | None = None,
        cancel: threading.Event | None = None,
        on_text: Callable[[str], None],
    ) -> Generation:
        def write(event: object) -> None:
            if isinstance(event, str):
                on_text(event)
            else:
                self.emit(event)  # type: ignore[arg-type]

        assert not isinstance(prompt, str)
        said = "".join(map(chr, prompt)).split(_END)
        return self.script.run((said[-2],), write, cancel or threading.Event())

    def close(self) -> None:
        self.closed.set()


def scripted_model(name: str, engine: ScriptEngine, *, n_ctx: int = 4096) -> ChatModel:
    """A model that the engine plays."""
    loaded = LoadedModel(
        n_ctx=n_ctx,
        n_ctx_train=8192,
        n_vocab=49152,
        n_threads=2,
        description="llama 135M Q4_0",
        load_seconds=0.4,
    )
    model = replace(gguf(), name=name)
    return ChatModel(engine, model, loaded, ChatTemplate(_TEMPLATE, "", ""), emit=engine.emit)


@dataclass
class Fakes:
    """The services of a test. Questions are answered at once, conversations by their scripts; jobs
    are begun in the real store, by nobody: a test says how they go on."""

    home: Path
    listed: list[Model] = field(default_factory=list)
    offered: list[Choice] = field(default_factory=list)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Repository -> parameters and bytes that its headers tell."""
    list_error: Exception | None = None
    show_error: Exception | None = None
    remove_error: Exception | None = None
    offer_error: Exception | None = None
    start_error: Exception | None = None
    rows: FitResult | None = None
    found: tuple[FoundModel, ...] = ()
    hub_error: LocalqError | None = None
    loaded: Loading | None = None
    machine: HardwareProfile | None = None
    openings: Script[bool] = field(default_factory=Script)
    replies: Script[Generation] = field(default_factory=Script)
    removed: list[str] = field(default_factory=list)
    requests: list[object] = field(default_factory=list)
    chats: list[ScriptEngine] = field(default_factory=list)
    locks: dict[int, LivenessLock] = field(default_factory=dict)

    @property
    def paths(self) -> Paths:
        return Paths.from_environment({"LOCALQ_HOME": str(self.home)})

    @property
    def log(self) -> Path:
        return self.paths.log / "tui.log"

    @property
    def store(self) -> JobStore:
        return JobStore(self.paths, clock=lambda: NOW)

    def app(self, clock: StoppedClock | None = None) -> LocalqApp:
        app = LocalqApp(self.services(), (clock or StoppedClock()).clock())
        app.animation_level = "none"
        return app

    @asynccontextmanager
    async def running(
        self, size: tuple[int, int] = (80, 24), *, clock: StoppedClock | None = None
    ) -> AsyncIterator[Pilot[None]]:
        """The app with these services, its library read."""
        app = self.app(clock)
        try:
            async with app.run_test(size=size) as pilot:
                screen = library(app)
                await until(
                    pilot,
                    lambda: screen.models is not None or notice_text(screen) is not None,
                )
                yield pilot
        finally:
            for script in (self.openings, self.replies):
                script.fail(Cancelled())
            app.end(_PATIENCE)
            for lock in self.locks.values():
                lock.release()

    def services(self) -> Services:
        real = Library(self.paths)
        return replace(
            services_of(real),
            library=_FakeLibrary(real, self),
            hub=_FakeHub(real, self),
            machine=_FakeMachine(real, self),
            jobs=_FakeJobs(real, self),
            chat=_FakeChats(real, self),
        )

    def begin(self, title: str, kind: str = "pull") -> int:
        """A job that runs, as far as anybody can see."""
        job_id, lock = self.store.begin(Draft(kind, title, json.dumps({"spec": title})))
        self.locks[job_id] = lock
        return job_id

    def end(self, job_id: int, state: JobState, **told: str) -> None:
        self.store.end(job_id, state, self.store.job(job_id).progress, **told)
        self.locks.pop(job_id).release()


class _FakeLibrary(LibraryServices):
    def __init__(self, library: Library, fakes: Fakes) -> None:
        super().__init__(library)
        self._fakes = fakes

    def models(self) -> Sequence[Model]:
        if self._fakes.list_error is not None:
            raise self._fakes.list_error
        return sorted(self._fakes.listed, key=lambda model: model.name)

    def revision(self) -> int:
        return hash(tuple(self._fakes.listed))

    def show(self, name: str) -> ModelDetails:
        if self._fakes.show_error is not None:
            raise self._fakes.show_error
        model = next(model for model in self._fakes.listed if model.name == name)
        if model.format is ModelFormat.SAFETENSORS:
            tensors = [TensorDetails(f"t{i}", "BF16", (64, 64), 8192) for i in range(272)]
            return ModelDetails(model, {"max_position_embeddings": 8192}, tuple(tensors))
        metadata = {
            "general.architecture": "llama",
            "llama.context_length": 8192,
            "general.license": "apache-2.0",
            "tokenizer.chat_template": "{{ messages }}",
        }
        types = [model.quant] * 211 + ["F32"] * 61
        tensors = [TensorDetails(f"t{i}", type_, (64, 64), 0) for i, type_ in enumerate(types)]
        return ModelDetails(model, metadata, tuple(tensors))

    def remove(self, names: Sequence[str]) -> Sequence[Removed]:
        fakes = self._fakes
        if fakes.remove_error is not None:
            raise fakes.remove_error
        models = [model for model in fakes.listed if model.name in names]
        fakes.listed[:] = [model for model in fakes.listed if model.name not in names]
        fakes.removed += names
        return [Removed(model, None if model.external else 1, model.size_bytes) for model in models]

    def restore(self, names: Sequence[str]) -> Sequence[Model]:
        back = [gguf(name.partition(":")[0], QuantType[name.partition(":")[2]]) for name in names]
        self._fakes.listed += back
        return back


class _FakeHub(HubServices):
    def __init__(self, library: Library, fakes: Fakes) -> None:
        super().__init__(library)
        self._fakes = fakes

    def choices(self) -> Sequence[Choice]:
        if self._fakes.offer_error is not None:
            raise self._fakes.offer_error
        return self._fakes.offered

    def sized(self, choices: Sequence[Choice], cancel: threading.Event) -> Sequence[Choice]:
        sizes = self._fakes.sizes
        return [
            replace(choice, parameters=sizes[choice.repo][0], download_bytes=sizes[choice.repo][1])
            if choice.repo in sizes
            else choice
            for choice in choices
        ]

    def search(self, words: str, emit: Emit, cancel: threading.Event) -> tuple[FoundModel, ...]:
        return self._fakes.found

    def fit(self, model: str, emit: Emit, cancel: threading.Event) -> FitResult:
        if self._fakes.hub_error is not None:
            raise self._fakes.hub_error
        return self.ladder(model, cancel)

    def access(self) -> HubAccess:
        return HubAccess("https://huggingface.co", has_token=True, offline=False)

    def ladder(self, name: str, cancel: threading.Event, *, every: bool = False) -> FitResult:
        if self._fakes.rows is None:
            raise UnsupportedError("nothing is known of it")
        return self._fakes.rows


class _FakeMachine(MachineServices):
    def __init__(self, library: Library, fakes: Fakes) -> None:
        super().__init__(library)
        self._fakes = fakes

    def profile(self, emit: Emit, cancel: threading.Event) -> HardwareProfile:
        return self._fakes.machine or super().profile(emit, cancel)

    def loading(self, name: str, n_ctx: int | None, cancel: threading.Event) -> Loading:
        return self._fakes.loaded or super().loading(name, n_ctx, cancel)

    def fittings(self, names: Sequence[str], cancel: threading.Event) -> Mapping[str, Fitting]:
        sizes = {model.name: model.size_bytes for model in self._fakes.listed}
        return {name: Fitting(sizes[name] + 50_000_000, fits=True) for name in names}


class _FakeJobs(JobServices):
    def __init__(self, library: Library, fakes: Fakes) -> None:
        super().__init__(library)
        self._fakes = fakes

    def start(self, request: Any, *, agreed: bool = False) -> Job:
        if self._fakes.start_error is not None:
            raise self._fakes.start_error
        self._fakes.requests.append(request)
        name = getattr(request, "spec", None) or getattr(request, "model", "") or "all"
        kind = type(request).__name__.removesuffix("Request").lower()
        return self._fakes.store.job(self._fakes.begin(f"{kind} {name}", kind))

    def memory(self, jobs: Sequence[Job]) -> Mapping[int, int]:
        return {job.id: 150_000_000 for job in jobs if job.pid is not None}


class _FakeChats(ChatServices):
    def __init__(self, library: Library, fakes: Fakes) -> None:
        super().__init__(library)
        self._fakes = fakes

    def talk(
        self,
        model: str | None,
        session_id: int | None,
        pool: object,
        emit: Emit,
        cancel: threading.Event,
    ) -> SessionChat:
        store = SessionStore(self._fakes.paths, clock=lambda: NOW)
        session = None if session_id is None else store.session(session_id)
        name = model or (session.model if session else "")
        self._fakes.openings.run((name,), emit, cancel)
        engine = ScriptEngine(self._fakes.replies, emit)
        self._fakes.chats.append(engine)
        return SessionChat(store, scripted_model(name, engine), session=session, emit=emit)


def gguf(
    base: str = "HuggingFaceTB/SmolLM2-135M-Instruct",
    quant: QuantType = QuantType.Q4_0,
    *,
    size: int = 91_700_000,
    parameters: int = 134_515_008,
    used: float = 3600.0,
) -> Model:
    """A GGUF last used `used` seconds ago."""
    name = f"{base}:{quant.name}"
    folder = Path("/home/ada/.local/share/localq/models") / base
    return Model(
        name=name,
        format=ModelFormat.GGUF,
        quant=quant.name,
        architecture="llama",
        parameters=parameters,
        size_bytes=size,
        path=folder / f"{folder.name}-{quant.name}.gguf",
        source=ModelSource(base, "12fd25f77366fa6b3b4b768ec3050bf629380bac"),
        created_at=NOW - 3 * 86400,
        used_at=NOW - used,
    )


def checkpoint(
    name: str = "HuggingFaceTB/SmolLM2-135M-Instruct",
    *,
    size: int = 272_000_000,
    parameters: int = 134_515_008,
    used: float = 2 * 86400.0,
) -> Model:
    """A checkpoint last used `used` seconds ago."""
    return Model(
        name=name,
        format=ModelFormat.SAFETENSORS,
        quant="BF16",
        architecture="LlamaForCausalLM",
        parameters=parameters,
        size_bytes=size,
        path=Path("/home/ada/.local/share/localq/models") / name,
        source=ModelSource(name, "12fd25f77366fa6b3b4b768ec3050bf629380bac"),
        created_at=NOW - 3 * 86400,
        used_at=NOW - used,
    )


def generation(
    text: str,
    stop: Literal["eos", "length", "context", "cancelled"] = "eos",
    *,
    tokens: int = 42,
) -> Generation:
    return Generation(
        text=text,
        prompt_tokens=31,
        generated_tokens=tokens,
        prompt_seconds=0.2,
        generate_seconds=2.0,
        stop=stop,
    )
