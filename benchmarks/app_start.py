"""How long the terminal app takes from its command to a library one can use, beside an empty
Textual app, in turn on the same machine.

python -m benchmarks.app_start [--models 0 5 1000] [--rounds 11]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.library import fill
from benchmarks.terminal import Terminal

_EMPTY = """
from textual.app import App, ComposeResult
from textual.widgets import Static

class Empty(App):
    def compose(self) -> ComposeResult:
        yield Static("ready to be used")

Empty().run()
"""


def once(code: list[str], home: Path, shown: str) -> tuple[float, float]:
    """Seconds on the clock, and of the processor, until `shown` stands on the terminal."""
    with Terminal([sys.executable, *code], home) as terminal:
        seconds = terminal.until(shown)
        return seconds, terminal.processor_seconds()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, nargs="+", default=[0, 5, 1000])
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        homes = {}
        for count in options.models:
            homes[count] = Path(folder) / str(count)
            fill(homes[count], count)
        empty: list[tuple[float, float]] = []
        ours: dict[int, list[tuple[float, float]]] = {count: [] for count in homes}
        for number in range(options.rounds + 1):
            found = once(["-c", _EMPTY], Path(folder), "ready to be used")
            each = {
                count: once(["-m", "localq"], home, f"{count} models" if count else "The demo")
                for count, home in homes.items()
            }
            if number:  # the first round compiles
                empty.append(found)
                for count, times in each.items():
                    ours[count].append(times)
        base = _medians(empty)
        print(f"an empty app     {1000 * base[0]:6.0f} ms, {1000 * base[1]:6.0f} of the processor")
        for count, runs in ours.items():
            clock, busy = _medians(runs)
            print(
                f"{count:5} models     {1000 * clock:6.0f} ms, {1000 * busy:6.0f} of the processor:"
                f" {clock / base[0]:.2f}x, {busy / base[1]:.2f}x"
            )


def _medians(times: list[tuple[float, float]]) -> tuple[float, float]:
    clock, busy = zip(*times, strict=True)
    return statistics.median(clock), statistics.median(busy)


if __name__ == "__main__":
    main()
