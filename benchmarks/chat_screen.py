"""How the chat screen feels while a reply streams: from a key to its letter on the screen, and how
long the event loop stands still, beside an app that has nothing but a field to type in.

    python -m benchmarks.chat_screen [--rate 200] [--seconds 20] [--exchanges 2000]
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from textual import events
from textual.app import App, ComposeResult
from textual.widgets import TextArea

from localq.engine.client import Generation
from localq.library import Library
from localq.paths import Paths
from localq.services.chat.session_chat import SessionChat
from localq.sessions import NewMessage, SessionStore
from localq.tui.app import LocalqApp
from localq.tui.chat.status import ChatState
from localq.tui.screens.chat import ChatScreen
from localq.tui.services import services_of
from localq.tui.services.chat import ChatServices
from tests.tui_support import Script, ScriptEngine, gguf, scripted_model

_TEXT = """A **quant** keeps the weights in fewer bits, and `Q4_0` takes 4.5 of them for each one.

- one thing, and another that is somewhat longer than the first
- and one more

```python
def size(parameters: int, bits: float) -> float:
    return parameters * bits / 8  # bytes
```

"""
_KEY_EVERY = 0.05
_TICK = 0.005


class _Streaming(ScriptEngine):
    """Writes `rate` pieces a second for so many seconds; at once where the rate is 0."""

    def __init__(self, rate: float, seconds: float) -> None:
        super().__init__(Script(), lambda event: None)
        self.rate, self.seconds = rate, seconds

    def generate(self, prompt, sampling, *, pictures=None, cancel=None, on_text):  # type: ignore[no-untyped-def]
        pieces = [word + " " for word in _TEXT.split(" ")]
        count = round(self.rate * self.seconds) or len(pieces)
        began = time.perf_counter()
        for number in range(count):
            if cancel is not None and cancel.is_set():
                break
            if self.rate:
                time.sleep(max(0.0, began + number / self.rate - time.perf_counter()))
            on_text(pieces[number % len(pieces)])
        return Generation("", len(prompt), count, 0.1, time.perf_counter() - began + 1e-6, "eos")


class _Chats(ChatServices):
    def __init__(self, library: Library, engine: ScriptEngine) -> None:
        super().__init__(library)
        self._engine = engine
        self._paths = library.paths

    def talk(self, model, session_id, pool, emit, cancel):  # type: ignore[no-untyped-def]
        store = SessionStore(self._paths)
        session = None if session_id is None else store.session(session_id)
        chat = scripted_model(gguf().name, self._engine, n_ctx=10_000_000)
        return SessionChat(store, chat, session=session)


class _Empty(App[None]):
    def compose(self) -> ComposeResult:
        yield TextArea()


async def _typed(
    field: TextArea, while_true: Callable[[], bool]
) -> tuple[list[float], list[float]]:
    """Seconds from key to letter, and seconds that the loop was late, both in ms."""
    echoes: list[float] = []
    late: list[float] = []
    over = threading.Event()

    async def watch() -> None:
        while not over.is_set():
            began = time.perf_counter()
            await asyncio.sleep(_TICK)
            late.append((time.perf_counter() - began - _TICK) * 1000)

    watching = asyncio.create_task(watch())
    while while_true():
        length = len(field.text)
        began = time.perf_counter()
        field.app.post_message(events.Key("a", "a"))
        while len(field.text) == length:
            await asyncio.sleep(0.0005)
        drawn = asyncio.Event()
        field.call_after_refresh(drawn.set)
        await drawn.wait()
        echoes.append((time.perf_counter() - began) * 1000)
        if length > 60:
            field.clear()
        await asyncio.sleep(_KEY_EVERY)
    over.set()
    await watching
    return echoes, late


def _app(home: Path, engine: ScriptEngine) -> LocalqApp:
    library = Library(Paths.from_environment({"LOCALQ_HOME": str(home)}))
    services = services_of(library)
    app = LocalqApp(replace(services, chat=_Chats(library, engine)))
    app.animation_level = "none"
    return app


async def _chat(
    home: Path, engine: ScriptEngine, use: Callable[[ChatScreen], Awaitable[None]]
) -> None:
    app = _app(home, engine)
    try:
        async with app.run_test(size=(120, 40)) as pilot:
            screen = ChatScreen(app.context, gguf())
            await app.push_screen(screen)
            await _until(lambda: screen.status.state is ChatState.IDLE)
            await use(screen)
            await pilot.pause()
    finally:
        app.end(5)


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


def _told(name: str, echoes: list[float], late: list[float]) -> None:
    cuts = statistics.quantiles(echoes, n=20)
    print(
        f"{name:24} key to letter: median {statistics.median(echoes):5.1f} ms, p95 {cuts[18]:5.1f};"
        f" loop late: p99 {statistics.quantiles(late, n=100)[98]:5.1f} ms, most {max(late):5.1f}"
    )


async def _feel(rate: float, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as home:

        async def streamed(screen: ChatScreen) -> None:
            screen.conversation.send("go on")
            field = screen.query_one(TextArea)
            echoes, late = await _typed(field, lambda: screen.status.is_busy)
            _told(f"{rate:g} tokens a second", echoes, late)
            print(f"{'':24} drawn {screen.transcript.frames / seconds:.1f} times a second")

        empty = _Empty()
        async with empty.run_test(size=(120, 40)):
            until = time.perf_counter() + seconds / 2
            echoes, late = await _typed(
                empty.query_one(TextArea), lambda: time.perf_counter() < until
            )
            _told("an empty app", echoes, late)
        await _chat(Path(home), _Streaming(rate, seconds), streamed)


async def _opening(count: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        store = SessionStore(Paths.from_environment({"LOCALQ_HOME": home}))
        messages = [
            (n - 1 if n else None, NewMessage("user" if n % 2 == 0 else "assistant", _TEXT * 2))
            for n in range(count)
        ]
        session = store.create(title="long", model=gguf().name, messages=messages)

        async def opened(screen: ChatScreen) -> None:
            began = time.perf_counter()
            screen.conversation.open(None, session.id)
            await _until(lambda: screen.transcript.virtual_size.height > count)
            took = time.perf_counter() - began
            print(f"{count:,} messages: open after {took:.2f} s, {screen.transcript.drawn} drawn")

        await _chat(Path(home), _Streaming(0, 0), opened)


async def _many(exchanges: int) -> None:
    with tempfile.TemporaryDirectory() as home:

        async def talk(screen: ChatScreen) -> None:
            for number in range(1, exchanges + 1):
                screen.conversation.send(f"question {number}")
                await _until(lambda: screen.status.state is ChatState.IDLE)
                if number % max(exchanges // 8, 1) == 0:
                    print(f"{number:6,} exchanges: {_resident():.0f} MB", flush=True)

        await _chat(Path(home), _Streaming(0, 0), talk)


def _resident() -> float:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6
    except OSError:  # the most there ever was, where the system tells no more
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
            1e6 if sys.platform == "darwin" else 1e3
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--exchanges", type=int, default=2000)
    arguments = parser.parse_args()
    asyncio.run(_feel(arguments.rate, arguments.seconds))
    asyncio.run(_opening(arguments.messages))
    if arguments.exchanges:
        asyncio.run(_many(arguments.exchanges))


if __name__ == "__main__":
    main()
