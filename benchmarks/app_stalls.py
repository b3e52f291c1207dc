"""How long the terminal app's loop is held up while models are quantized, pulled and talked to at
once, beside an empty Textual app under the same load; and what the app takes when nothing happens.

python -m benchmarks.app_stalls --tokenizer DIR [--seconds 15] [--rounds 3] [--verbose]
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.checkpoint import make_checkpoint
from benchmarks.download import hub, make_repo
from benchmarks.terminal import Terminal

_REPO = "bench/sharded"
_EMPTY = """
import sys
from pathlib import Path
from textual.app import App, ComposeResult
from textual.widgets import Static
from localq.tui.watchdog import Watchdog

watchdog = Watchdog(10.0, Path(sys.argv[1]))

class Empty(App):
    def compose(self) -> ComposeResult:
        yield Static("ready to be used")

    def on_mount(self) -> None:
        self.set_timer(0.1, watchdog.start)

Empty().run()
watchdog.stop()
"""
_SUMMARY = re.compile(r"watchdog: (\d+) beats, late by ([\d.]+) ms.*?([\d.]+) at the.*?([\d.]+) at")


def _localq(*arguments: str, home: Path, **more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["sh", "-c", 'while "$@"; do :; done', "sh", sys.executable, "-m", "localq", *arguments],
        env={**os.environ, "LOCALQ_HOME": str(home), **more},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@contextmanager
def _load(home: Path, url: str, work: Path) -> Iterator[None]:
    """Quantizes, pulls and generates, each again and again."""
    checkpoint, output = str(work / "checkpoint"), str(work / "q.gguf")
    pull = {"HF_ENDPOINT": url, "NO_PROXY": "127.0.0.1", "HF_HUB_OFFLINE": "0"}
    running = [
        _localq("quantize", "q4_k_m", checkpoint, "-o", output, "--force", home=home),
        _localq("pull", _REPO, "--force", home=home, **pull),
        _localq("run", "demo/stories260K:Q8_0", "-p", "Once", "--max-tokens", "400", home=home),
    ]
    try:
        yield
    finally:
        for process in running:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _ours(home: Path, seconds: float, *, verbose: bool) -> tuple[float, ...]:
    log = home / "log" / "tui.log"
    log.unlink(missing_ok=True)
    with Terminal([sys.executable, "-m", "localq"], home, environment=_WATCHED) as terminal:
        terminal.until("stories260K")
        terminal.rest(seconds / 2)
        terminal.press("3")
        terminal.rest(seconds / 2)
        terminal.press("\x11")
        terminal.rest(3)
    if verbose:
        print(log.read_text(encoding="utf-8"))
    return _late(log)


def _empty(home: Path, seconds: float) -> tuple[float, ...]:
    log = home / "empty.log"
    log.unlink(missing_ok=True)
    with Terminal([sys.executable, "-c", _EMPTY, str(log)], home) as terminal:
        terminal.until("ready to be used")
        terminal.rest(seconds)
        terminal.press("\x11")
        terminal.rest(3)
    return _late(log)


def _late(log: Path) -> tuple[float, ...]:
    """Milliseconds: in the middle, at the 95th per cent, at most."""
    found = _SUMMARY.search(log.read_text(encoding="utf-8"))
    if found is None:
        sys.exit(f"{log} has no summary of the watchdog")
    return tuple(map(float, found.groups()[1:]))


_WATCHED: Mapping[str, str] = {"LOCALQ_WATCHDOG": "100"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--verbose", action="store_true", help="what held the app up")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        home = Path(folder) / "home"
        served = Path(folder) / "served"
        make_repo(served / _REPO, 500_000_000, 2)
        make_checkpoint(Path(folder) / "checkpoint", 0.25, options.tokenizer)
        url = stack.enter_context(hub(served))
        for verb in (("pull", "demo"), ("quantize", "q8_0", "demo/stories260K")):
            subprocess.run(
                [sys.executable, "-m", "localq", *verb],
                env={**os.environ, "LOCALQ_HOME": str(home)},
                check=True,
                capture_output=True,
            )
        began = _idle(home)
        print(f"nothing to do: {100 * began:.2f} % of a processor")
        found: dict[str, list[tuple[float, ...]]] = {"empty": [], "localq": []}
        stack.enter_context(_load(home, url, Path(folder)))
        time.sleep(2)
        for _ in range(options.rounds):
            found["empty"].append(_empty(home, options.seconds))
            found["localq"].append(_ours(home, options.seconds, verbose=options.verbose))
        for name, runs in found.items():
            middle, most_of, most = (statistics.median(run) for run in zip(*runs, strict=True))
            print(
                f"{name:8} late by {middle:.1f} ms in the middle, {most_of:.1f} at the 95th per"
                f" cent, {most:.1f} at most (medians of {len(runs)} rounds;"
                f" worst {max(run[-1] for run in runs):.1f})"
            )


def _idle(home: Path, seconds: float = 15) -> float:
    """The part of a processor that the app takes while nobody does anything."""
    with Terminal([sys.executable, "-m", "localq"], home) as terminal:
        terminal.until("stories260K")
        terminal.rest(4)
        before = terminal.processor_seconds()
        terminal.rest(seconds)
        return (terminal.processor_seconds() - before) / seconds


if __name__ == "__main__":
    main()
