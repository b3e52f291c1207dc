"""`localq pull --as` beside `localq pull` and `localq quantize`, from a Hub on the loopback.

    python -m benchmarks.stream --tokenizer DIR [--billions 1.06] [--type q4_0] [--rounds 3]
        [--disk-bytes 700000000] [--rate BYTES_PER_SECOND] [--work DIR]

DIR is a folder with Llama 2's tokenizer.model. The stream's localq home is a tmpfs of that size
where one may be mounted (root on Linux): what does not fit there fails. Each round runs the stream,
then the two steps, of which the second, with the checkpoint in the page cache, shows what the
codecs can do. The files must be equal byte for byte. `--rate` is the network's.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.checkpoint import make_checkpoint
from benchmarks.measure import Measured, measure

__all__ = ["main"]

_REPO = "random/model"
_DISK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class _Round:
    stream: Measured
    most_disk: int
    pull: Measured
    quantize: Measured
    processor: tuple[float, float, float]
    """Seconds of processor time of the three, which other work on the machine disturbs less."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--billions", type=float, default=1.06)
    parser.add_argument("--type", default="q4_0")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--disk-bytes", type=int, default=700_000_000)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--work", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        work = Path(folder)
        checkpoint = work / "hub" / _REPO
        parameters = make_checkpoint(checkpoint, args.billions, args.tokenizer)
        print(f"{parameters / 1e9:.2f} B parameters, {2 * parameters / 1e9:.2f} GB in bf16")
        with _hub(work / "hub", args.rate) as address:
            rounds = [_run(work, address, args.type, args.disk_bytes) for _ in range(args.rounds)]
    _print(rounds)


def _run(work: Path, address: str, type_: str, disk_bytes: int) -> _Round:
    small, large = work / "small", work / "large"
    checkpoint = work / "hub" / _REPO
    with _disk(small, disk_bytes) as most:
        _quiet(checkpoint)
        times = [_processor_seconds()]
        stream = _localq(["pull", _REPO, "--as", type_], small, address)
        times.append(_processor_seconds())
        shutil.copy(_gguf(small), work / "streamed.gguf")
    _quiet(checkpoint)
    pull = _localq(["pull", _REPO], large, address)
    times.append(_processor_seconds())
    _quiet(large / "data" / "models" / _REPO)
    quantize = _localq(["quantize", type_, _REPO], large, address)
    times.append(_processor_seconds())
    if not filecmp.cmp(_gguf(large), work / "streamed.gguf", shallow=False):
        sys.exit(f"{type_}: the files differ")
    size = (work / "streamed.gguf").stat().st_size
    (work / "streamed.gguf").unlink()
    shutil.rmtree(large)
    print(
        f"  stream {stream.seconds:6.2f} s, {stream.anonymous_bytes / 1e6:4.0f} MB of memory, "
        f"at most {most[0] / 1e6:,.0f} MB of disk for a file of {size / 1e6:,.0f} MB"
        f" | pull {pull.seconds:6.2f} s + quantize {quantize.seconds:6.2f} s",
        flush=True,
    )
    first, second, third = (after - before for before, after in pairwise(times))
    return _Round(stream, most[0], pull, quantize, (first, second, third))


def _print(rounds: Sequence[_Round]) -> None:
    stream = statistics.median(one.stream.seconds for one in rounds)
    both = statistics.median(
        (one.pull.seconds + one.quantize.seconds) / one.stream.seconds for one in rounds
    )
    pull = statistics.median(one.pull.seconds / one.stream.seconds for one in rounds)
    codec = statistics.median(one.quantize.seconds / one.stream.seconds for one in rounds)
    print(
        f"stream {stream:.2f} s: pull and quantize take {both:.2f}x as long, "
        f"pull alone {pull:.2f}x, quantize alone {codec:.2f}x"
    )
    first, second, third = (statistics.median(one.processor[i] for one in rounds) for i in range(3))
    print(f"processor time {first:.1f} s: pull {second:.1f} s, quantize {third:.1f} s")
    print(
        f"memory at most {max(one.stream.anonymous_bytes for one in rounds) / 1e6:.0f} MB, "
        f"disk at most {max(one.most_disk for one in rounds) / 1e6:,.0f} MB | files equal"
    )


def _localq(arguments: Sequence[str], home: Path, address: str) -> Measured:
    variables = {"LOCALQ_HOME": str(home), "HF_ENDPOINT": address, "HF_HOME": str(home / "hf")}
    command = [sys.executable, "-m", "localq", *arguments]
    return measure(command, {**variables, "HF_TOKEN": "", "NO_PROXY": "127.0.0.1"})


def _processor_seconds() -> float:
    """Of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _gguf(home: Path) -> Path:
    return next((home / "data" / "models").rglob("*.gguf"))


@contextmanager
def _hub(folder: Path, rate: float | None) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.hub_server", str(folder)]
    if rate:
        command += ["--rate", str(rate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


@contextmanager
def _disk(folder: Path, size: int) -> Iterator[list[int]]:
    """A disk of that size at `folder`, if one may be mounted; the most that was ever used of it."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
        mounted = True
    except (OSError, subprocess.CalledProcessError):
        print("  (no small disk may be mounted here)")
        mounted = False
    most, ended = [0], threading.Event()
    before = shutil.disk_usage(folder).used

    def watch() -> None:
        while not ended.wait(_DISK_SECONDS):
            most[0] = max(most[0], shutil.disk_usage(folder).used - before)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield most
    finally:
        ended.set()
        watching.join()
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)
        shutil.rmtree(folder)


def _quiet(checkpoint: Path) -> None:
    """Every run begins with the checkpoint in the page cache, and a disk with nothing to do."""
    if hasattr(os, "sync"):
        os.sync()
    with (checkpoint / "model.safetensors").open("rb") as file:
        while file.read(1 << 24):
            pass


if __name__ == "__main__":
    main()
