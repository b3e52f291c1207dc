"""`localq pull` beside `hf download`: the same repository from the same Hub on this machine.

    python -m benchmarks.download [--gigabytes 1.07] [--shards 4 1] [--rounds 5] [--work DIR]

The Hub is tests/hub_server.py in a process of its own, so there is no network to wait for: what is
compared is what the programs themselves cost. Each round runs both as whole processes into empty
folders, one after the other and the other way round the next time; what is printed are medians, and
the median of the rounds' ratios. localq computes every file's SHA-256 meanwhile and brings the
files safely to the disk; hf does neither.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import Measured, measure

__all__ = ["main"]

_REPO = "bench/random"
_WIDTH = 1024
_BLOCK = 1 << 24
_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": _WIDTH,
    "intermediate_size": _WIDTH,
    "num_attention_heads": 8,
    "num_hidden_layers": 1,
    "vocab_size": 1000,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=1.07)
    parser.add_argument("--shards", type=int, nargs="+", default=[4, 1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path)
    args = parser.parse_args()
    for shards in args.shards:
        with tempfile.TemporaryDirectory(dir=args.work) as folder:
            served = Path(folder) / "served"
            size = make_repo(served / _REPO, round(args.gigabytes * 1e9), shards)
            with hub(served) as url:
                _warm_up(url, shards)
                _compare(url, Path(folder), size, shards, args.rounds)


def _compare(url: str, work: Path, size: int, shards: int, rounds: int) -> None:
    ours: list[Measured] = []
    theirs: list[Measured] = []
    for number in range(rounds):
        order = [(_localq, ours), (_hf, theirs)]
        for run, results in order if number % 2 else reversed(order):
            home = work / "home"
            if hasattr(os, "sync"):
                os.sync()
            results.append(run(url, home))
            arrived = sum(p.stat().st_size for p in home.rglob("*") if p.is_file())
            if arrived < size:
                sys.exit(f"only {arrived:,} of {size:,} bytes arrived")
            shutil.rmtree(home)
    seconds = statistics.median(run.seconds for run in ours)
    peer = statistics.median(run.seconds for run in theirs)
    ratio = statistics.median(b.seconds / a.seconds for a, b in zip(ours, theirs, strict=True))
    print(
        f"{shards} x {size / shards / 1e9:.2f} GB: localq {seconds:.2f} s "
        f"({size / seconds / 1e6:,.0f} MB/s, {_memory(ours)}) | hf {peer:.2f} s "
        f"({size / peer / 1e6:,.0f} MB/s, {_memory(theirs)}) | {ratio:.2f}x",
        flush=True,
    )


def _localq(url: str, home: Path) -> Measured:
    command = [sys.executable, "-m", "localq", "pull", _REPO]
    return measure(command, {**_environment(url, home), "LOCALQ_HOME": str(home / "localq")})


def _hf(url: str, home: Path) -> Measured:
    command = [Path(sys.executable).with_name("hf"), "download", _REPO]
    return measure(command, {**_environment(url, home), "HF_HUB_DISABLE_TELEMETRY": "1"})


def _environment(url: str, home: Path) -> Mapping[str, str]:
    return {"HF_ENDPOINT": url, "HF_HOME": str(home / "hf"), "NO_PROXY": "127.0.0.1"}


def _memory(runs: list[Measured]) -> str:
    return f"{max(run.anonymous_bytes for run in runs) / 1e6:.0f} MB of its own"


@contextmanager
def hub(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.hub_server", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def _warm_up(url: str, shards: int) -> None:
    """Let the Hub compute its checksums, and both programs be compiled and in the page cache."""
    with tempfile.TemporaryDirectory() as folder:
        environment = _environment(url, Path(folder))
        measure([sys.executable, "-m", "localq", "pull", _REPO, "--dry-run"], environment)
        measure([Path(sys.executable).with_name("hf"), "version"], environment)
    time.sleep(1)


def make_repo(folder: Path, size: int, shards: int) -> int:
    """A repository of one random tensor per shard; returns the bytes of all."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(_CONFIG))
    rows = size // shards // (2 * _WIDTH)
    for number in range(1, shards + 1):
        name = (
            f"model-{number:05}-of-{shards:05}.safetensors" if shards > 1 else "model.safetensors"
        )
        _write_shard(folder / name, f"tensor_{number}", rows)
    return sum(path.stat().st_size for path in folder.iterdir())


def _write_shard(path: Path, tensor: str, rows: int) -> None:
    left = 2 * _WIDTH * rows
    layout = {"dtype": "BF16", "shape": [rows, _WIDTH], "data_offsets": [0, left]}
    text = json.dumps({tensor: layout}).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        while left:
            block = os.urandom(min(left, _BLOCK))
            file.write(block)
            left -= len(block)


if __name__ == "__main__":
    main()
