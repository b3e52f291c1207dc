"""Many texts at once, beside llama-server, in the same run.

    python -m benchmarks.many MODEL.gguf --llama-server BIN [--streams 1,2,4,8,16] [--tokens 32]
        [--rounds 3] [--threads 2]

For each number of streams N both sides get the same N prompts at the same moment and generate the
same number of tokens, greedy, with room for N texts of the same length; they take turns in an order
that changes. Printed are medians of tokens per second of all texts together and of the rounds'
ratios. Then four texts grow and a prompt of 1,500 tokens arrives: the longest time that any of the
four stood still. Last, one conversation: how long the first token of a second turn takes beside
that of the first, in the same engine and after a restart.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from localq.engine import Engine, LoadSettings, SamplingParams

__all__ = ["main"]

Prompt = list[int]
Ask = Callable[[Prompt, int, Callable[[], None]], None]
"""Generate so many tokens after a prompt, calling back for each."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--llama-server", type=Path, required=True)
    parser.add_argument("--streams", default="1,2,4,8,16")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    for streams in map(int, args.streams.split(",")):
        with (
            _ours(args.model, streams, args.threads, 256 * streams) as ours,
            _theirs(args.model, args.llama_server, streams, args.threads, 256 * streams) as theirs,
        ):
            ways = {"localq": ours, "llama-server": theirs}
            _compare(f"{streams} at once", ways, args.rounds, streams, args.tokens)
    with (
        _ours(args.model, 5, args.threads, 4096) as ours,
        _theirs(args.model, args.llama_server, 5, args.threads, 4096) as theirs,
    ):
        gaps = {name: _longest_gap(ask) for name, ask in (("localq", ours), ("theirs", theirs))}
        print(f"longest gap: localq {gaps['localq']:.2f} s, llama-server {gaps['theirs']:.2f} s")
    _second_turn(args.model, args.threads)


def _compare(what: str, ways: dict[str, Ask], rounds: int, streams: int, tokens: int) -> None:
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    order = list(ways)
    for number in range(rounds):
        random.shuffle(order)
        prompts = [_prompt(16, 100 * number + i) for i in range(streams)]
        for name in order:
            began = time.perf_counter()
            with ThreadPoolExecutor(streams) as pool:
                for _ in pool.map(lambda p, ask=ways[name]: ask(p, tokens, _nothing), prompts):
                    pass
            speeds[name].append(streams * tokens / (time.perf_counter() - began))
    ratio = statistics.median(
        a / b for a, b in zip(speeds["localq"], speeds["llama-server"], strict=True)
    )
    medians = ", ".join(f"{name} {statistics.median(s):.1f} tok/s" for name, s in speeds.items())
    print(f"{what}: {medians}, ratio {ratio:.2f}", flush=True)


def _longest_gap(ask: Ask) -> float:
    """Seconds that one of four texts stood still while a long prompt was read."""
    arrived: list[list[float]] = [[] for _ in range(4)]
    ready = threading.Barrier(5)

    def grow(number: int) -> None:
        def tick() -> None:
            arrived[number].append(time.perf_counter())
            if len(arrived[number]) == 4:
                ready.wait()

        ask(_prompt(16, number), 150, tick)

    with ThreadPoolExecutor(5) as pool:
        growing = [pool.submit(grow, number) for number in range(4)]
        ready.wait()
        began = time.perf_counter()
        pool.submit(ask, _prompt(1500, 9), 1, _nothing).result()
        ended = time.perf_counter()
        for one in growing:
            one.result()
    times = [[t for t in one if began <= t <= ended] for one in arrived]
    return max(b - a for one in times for a, b in zip([began, *one], [*one, ended], strict=True))


def _second_turn(model: Path, threads: int) -> None:
    sampling = SamplingParams(max_tokens=1, temperature=0)
    prompt = _prompt(2000, 3)
    with tempfile.TemporaryDirectory() as folder:
        settings = LoadSettings(
            model, n_ctx=4096, n_threads=threads, state_folder=Path(folder) / "states"
        )

        def first_token(engine: Engine, tokens: Prompt) -> float:
            return engine.generate(tokens, sampling, on_text=lambda _: None).prompt_seconds

        with Engine() as engine:
            engine.load(settings)
            first = first_token(engine, prompt)
            second = first_token(engine, [*prompt, *_prompt(20, 4)])
        with Engine() as engine:
            engine.load(settings)
            restarted = first_token(engine, [*prompt, *_prompt(20, 5)])
    print(
        f"first token of 2,000: {first:.2f} s; of the next turn: {second / first:.1%};"
        f" after a restart: {restarted / first:.1%}"
    )


@contextmanager
def _ours(model: Path, streams: int, threads: int, n_ctx: int) -> Iterator[Ask]:
    with Engine() as engine:
        engine.load(LoadSettings(model, n_ctx=n_ctx, n_threads=threads, n_seq_max=streams))

        def ask(prompt: Prompt, count: int, tick: Callable[[], None]) -> None:
            sampling = SamplingParams(max_tokens=count, temperature=0, ignore_eos=True)
            engine.generate(prompt, sampling, on_text=lambda _: tick())

        yield ask


@contextmanager
def _theirs(model: Path, binary: Path, streams: int, threads: int, n_ctx: int) -> Iterator[Ask]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(binary), "-m", str(model), "-np", str(streams), "-c", str(n_ctx)]
    command += ["-t", str(threads), "-tb", str(threads), "--port", str(port), "--kv-unified"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"

    def ask(prompt: Prompt, count: int, tick: Callable[[], None]) -> None:
        body = {"prompt": prompt, "n_predict": count, "temperature": 0, "ignore_eos": True}
        data = json.dumps({**body, "stream": True, "cache_prompt": True}).encode()
        request = urllib.request.Request(f"{address}/completion", data)
        with urllib.request.urlopen(request) as answer:
            for line in answer:
                if line.startswith(b"data:"):
                    tick()

    try:
        while True:
            try:
                urllib.request.urlopen(f"{address}/health").close()
                break
            except OSError:
                time.sleep(0.1)
        yield ask
    finally:
        server.kill()
        server.wait()


def _prompt(length: int, seed: int) -> Prompt:
    choose = random.Random(seed)
    return [1, *(choose.randrange(300, 20_000) for _ in range(length - 1))]


def _nothing() -> None:
    pass


if __name__ == "__main__":
    main()
