"""Many streams over HTTP, beside llama-server, in the same run.

    python -m benchmarks.serve MODEL.gguf --llama-server BIN [--streams 1,8,50] [--tokens 32]
        [--rounds 3] [--threads 2]

Both servers get the same N prompts at the same moment (`/v1/completions`, streamed, greedy) and
generate the same number of tokens; they take turns in an order that changes. Printed are medians
over the rounds: tokens per second of all streams together, the time to the first token at the 95th
percentile, and the ratios of both. Every stream's text is compared with that of its prompt alone.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

__all__ = ["main"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--llama-server", type=Path, required=True)
    parser.add_argument("--streams", default="1,8,50")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    for streams in map(int, args.streams.split(",")):
        n_ctx = streams * (args.tokens + 64)
        with (
            _started(_localq(args.model, streams, args.threads, n_ctx)) as ours,
            _started(_llama(args, streams, n_ctx)) as theirs,
        ):
            _compare({"localq": ours, "llama-server": theirs}, streams, args.tokens, args.rounds)


def _compare(ports: dict[str, int], streams: int, tokens: int, rounds: int) -> None:
    speeds: dict[str, list[float]] = {name: [] for name in ports}
    firsts: dict[str, list[float]] = {name: [] for name in ports}
    order, wrong = list(ports), 0
    for number in range(rounds):
        random.shuffle(order)
        prompts = [f"Story number {number * streams + i}: once upon a time" for i in range(streams)]
        for name in order:
            began = time.perf_counter()
            with ThreadPoolExecutor(streams) as pool:
                done = list(pool.map(lambda p, at=ports[name]: _stream(at, p, tokens), prompts))
            speeds[name].append(streams * tokens / (time.perf_counter() - began))
            waits = sorted(first for first, _ in done)
            firsts[name].append(waits[min(len(waits) - 1, round(0.95 * len(waits)))])
            if name == "localq" and number == 0:
                wrong = sum(
                    text != _stream(ports[name], p, tokens)[1]
                    for (_, text), p in zip(done, prompts, strict=True)
                )
    for what, found, unit in (("total", speeds, "tok/s"), ("first token, p95", firsts, "s")):
        pairs = zip(found["localq"], found["llama-server"], strict=True)
        ratio = statistics.median(a / b for a, b in pairs)
        medians = ", ".join(
            f"{name} {statistics.median(s):.2f} {unit}" for name, s in found.items()
        )
        print(f"{streams} streams, {what}: {medians}, ratio {ratio:.2f}", flush=True)
    print(f"{streams} streams: {wrong} of {streams} texts differ from the same prompt alone")


def _stream(port: int, prompt: str, tokens: int) -> tuple[float, str]:
    """Seconds to the first text, and all of it."""
    body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    began, first, texts = time.perf_counter(), 0.0, []
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/v1/completions", json.dumps({**body, "stream": True}).encode())
    for line in connection.getresponse():
        if line.startswith(b"data: {"):
            first = first or time.perf_counter() - began
            choices = json.loads(line[6:])["choices"]
            texts.append(choices[0]["text"] if choices else "")
    connection.close()
    return first, "".join(texts)


def _localq(model: Path, streams: int, threads: int, n_ctx: int) -> list[str]:
    command = [sys.executable, "-m", "localq", "serve", str(model), "--parallel", str(streams)]
    return [
        *command,
        "--ctx",
        str(n_ctx),
        "--threads",
        str(threads),
        "--threads-batch",
        str(threads),
    ]


def _llama(args: argparse.Namespace, streams: int, n_ctx: int) -> list[str]:
    command = [str(args.llama_server), "-m", str(args.model), "-np", str(streams)]
    command += ["-c", str(n_ctx), "--kv-unified"]
    return [*command, "-t", str(args.threads), "-tb", str(args.threads)]


@contextmanager
def _started(command: list[str]) -> Iterator[int]:
    """The port of the server, which answers by then."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([*command, "--port", str(port)], **quiet)
    try:
        while server.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
                break
            except OSError:
                time.sleep(0.1)
        if server.poll() is not None:
            raise SystemExit(f"{command[0]} ended with {server.returncode}")
        yield port
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
