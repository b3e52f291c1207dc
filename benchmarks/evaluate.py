"""A base and its quants evaluated, beside llama-perplexity's separate runs.

    python -m benchmarks.evaluate BASE.gguf QUANT.gguf... --text FILE --llama-perplexity BIN
        [--chunks 24] [--ctx 512] [--rounds 3] [--threads 2]

llama-perplexity reads the text with the base and writes its probabilities to a file, then reads it
with each quant beside that file. The two sides take turns. Printed are medians of wall and of
processor time, the rounds' ratios, and how many bytes each side wrote to the disk.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Measured, measure
from localq.display import byte_size

__all__ = ["main"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("base", type=Path)
    parser.add_argument("quants", type=Path, nargs="+")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--llama-perplexity", type=Path, required=True)
    parser.add_argument("--chunks", type=int, default=24)
    parser.add_argument("--ctx", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    ours: list[Measured] = []
    theirs: list[Measured] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = {"LOCALQ_HOME": str(folder / "home")}
        # The engine is tried once in each home.
        subprocess.run([*_localq(args, chunks=1)], env=_with(home), check=True, capture_output=True)
        for number in range(args.rounds):
            sides = [lambda: ours.append(measure(_localq(args, args.chunks), home))]
            sides.append(lambda: theirs.append(_llama_perplexity(args, folder / "base")))
            for side in sides if number % 2 else reversed(sides):
                side()
        written = sum(p.stat().st_size for p in (folder / "home").rglob("*") if p.is_file())
        their_file = (folder / "base").stat().st_size
    for what in ("seconds", "processor_seconds"):
        mine = [getattr(one, what) for one in ours]
        other = [getattr(one, what) for one in theirs]
        ratio = statistics.median(a / b for a, b in zip(mine, other, strict=True))
        print(
            f"{what}: localq {statistics.median(mine):.1f}, llama-perplexity"
            f" {statistics.median(other):.1f}, ratio {ratio:.2f}"
        )
    print(f"written: localq {byte_size(written)}, llama-perplexity {byte_size(their_file)}")


def _localq(args: argparse.Namespace, chunks: int) -> list[str | Path]:
    return [
        sys.executable, "-m", "localq", "eval", *args.quants, "--against", args.base,
        "--text", args.text, "--chunks", str(chunks), "--ctx", str(args.ctx),
    ]  # fmt: skip


def _llama_perplexity(args: argparse.Namespace, file: Path) -> Measured:
    """All runs together."""
    common = [args.llama_perplexity, "-t", str(args.threads), "-c", str(args.ctx)]
    common += ["--kl-divergence-base", file]
    first = [*common, "-m", args.base, "-f", args.text, "--chunks", str(args.chunks)]
    runs = [measure(first)]
    runs += [measure([*common, "-m", quant, "--kl-divergence"]) for quant in args.quants]
    return Measured(
        sum(run.seconds for run in runs),
        sum(run.processor_seconds for run in runs),
        max(run.anonymous_bytes for run in runs),
    )


def _with(more: dict[str, str]) -> dict[str, str]:
    return {**os.environ, **more}


if __name__ == "__main__":
    main()
