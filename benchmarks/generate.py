"""How fast `localq run` generates, beside llama-bench and llama-cpp-python, in the same run.

    python -m benchmarks.generate MODEL.gguf [--llama-bench BIN] [--tokens 64] [--rounds 5]
    python -m benchmarks.generate MODEL.gguf --busy 2 [--llama-bench BIN] [--tokens 256]

Each round runs all of them, one after the other, in an order that changes; what is printed are
medians, and the median of the rounds' ratios. llama-bench runs with every number of threads, and
the best is what the others are compared with; without BIN localq's own measurement takes its
place. With --busy so many other processes compute all the time, and what is compared are fixed
numbers of threads and the engine's own choice, which begins with all.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from localq.engine import Engine, LoadSettings, SamplingParams
from localq.hardware import cpu_threads

__all__ = ["main"]

_PROMPT = "Once upon a time"
_SPIN = "while True: pass"
_PEER = """
import sys, time
from llama_cpp import Llama
model = Llama(sys.argv[1], verbose=False)
tokens = model.tokenize(sys.argv[3].encode())
began, count = None, 0
for _ in model.generate(tokens, temp=0.8, top_k=40):
    began = began or time.perf_counter()
    count += 1
    if count > int(sys.argv[2]):
        break
print((count - 1) / (time.perf_counter() - began))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--llama-bench", type=Path)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--busy", type=int, help="so many other processes compute; 0: none")
    args = parser.parse_args()
    cores = cpu_threads()
    if args.busy is not None:
        with _busy(args.busy):
            ways = _fixed_and_adaptive(args.model, args.tokens, cores)
            if args.llama_bench:
                name = f"llama-bench -t {cores}"
                ways[name] = _Bench(args.llama_bench, args.model, args.tokens, cores)
            _compare(ways, args.rounds, "adaptive")
        return
    counts = sorted({1, max(1, cores // 2), max(1, cores - 1), cores, os.cpu_count() or 1})
    _compare(_beside_peers(args.model, args.tokens, counts, args.llama_bench), args.rounds, "run")


def _compare(ways: dict[str, Callable[[], float]], rounds: int, ours: str) -> None:
    """Print the tokens per second of each way, and `ours` over each."""
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    order = list(ways)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            speeds[name].append(ways[name]())
    for name, values in speeds.items():
        ratio = statistics.median(a / b for a, b in zip(speeds[ours], values, strict=True))
        spread = f"{min(values):.1f} to {max(values):.1f}"
        median = statistics.median(values)
        print(f"{name:<28} {median:7.1f} tok/s ({spread}) | {ours} {ratio:.2f}x", flush=True)
    others = [
        values for name, values in speeds.items() if name.startswith(("llama-bench", "fixed"))
    ]
    best = max(statistics.median(values) for values in others)
    print(f"{ours} / best of the others' medians: {statistics.median(speeds[ours]) / best:.3f}")


def _beside_peers(
    model: Path, tokens: int, counts: list[int], llama_bench: Path | None
) -> dict[str, Callable[[], float]]:
    ways: dict[str, Callable[[], float]] = {}
    for count in counts:
        if llama_bench:
            ways[f"llama-bench -t {count}"] = _Bench(llama_bench, model, tokens, count)
        else:
            ways[f"fixed: {count} threads"] = _Generation(
                LoadSettings(model, n_threads=count), tokens
            )
    ways["run"] = lambda: _run(model, tokens)
    ways["llama-cpp-python's defaults"] = lambda: _peer(model, tokens)
    return ways


def _fixed_and_adaptive(model: Path, tokens: int, cores: int) -> dict[str, Callable[[], float]]:
    ways: dict[str, Callable[[], float]] = {}
    for count in sorted({1, max(1, cores // 2), cores}):
        settings = LoadSettings(model, n_threads=count)
        ways[f"fixed: {count} threads"] = _Generation(settings, tokens)
    settings = LoadSettings(model, n_threads=cores, adapt_threads=True)
    ways["adaptive"] = _Generation(settings, tokens)
    return ways


class _Bench:
    def __init__(self, binary: Path, model: Path, tokens: int, threads: int) -> None:
        self._command = [str(binary), "-m", str(model), "-p", "0", "-n", str(tokens)]
        self._command += ["-r", "1", "-t", str(threads), "-o", "json"]

    def __call__(self) -> float:
        answer = subprocess.run(self._command, capture_output=True, check=True)
        return float(json.loads(answer.stdout)[0]["avg_ts"])


class _Generation:
    """localq's engine with given settings, a fresh process each time."""

    def __init__(self, settings: LoadSettings, tokens: int) -> None:
        self._settings = settings
        self._sampling = SamplingParams(max_tokens=tokens, seed=1)

    def __call__(self) -> float:
        with Engine() as engine:
            engine.load(self._settings)
            done = engine.generate(_PROMPT, self._sampling, on_text=lambda text: None)
        return done.generated_tokens / done.generate_seconds


def _run(model: Path, tokens: int) -> float:
    """`localq run` as a user has it, but for the length of the reply."""
    command = [sys.executable, "-m", "localq", "run", str(model), "-p", _PROMPT]
    command += ["--max-tokens", str(tokens), "--seed", "1", "--json"]
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "LOCALQ_HOME": home}
        answer = subprocess.run(command, capture_output=True, check=True, env=environment)
    done = json.loads(answer.stdout)
    return float(done["generated_tokens"] / done["generate_seconds"])


def _peer(model: Path, tokens: int) -> float:
    command = [sys.executable, "-c", _PEER, str(model), str(tokens), _PROMPT]
    return float(subprocess.run(command, capture_output=True, check=True).stdout)


@contextmanager
def _busy(count: int) -> Iterator[None]:
    others = [subprocess.Popen([sys.executable, "-c", _SPIN]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


if __name__ == "__main__":
    main()
