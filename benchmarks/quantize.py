"""localq's one pass beside llama.cpp's two steps, on the same random checkpoint in the same run.

    python -m benchmarks.quantize --llama-cpp TREE --python PYTHON --llama-quantize BIN \\
        --tokenizer DIR [--billions 1.07] [--types q4_0 q8_0 q4_k_m] [--rounds 3] [--work DIR]

TREE is an unpacked llama.cpp of the release inside the installed llama-cpp-python, PYTHON an
interpreter with the packages its converter wants, BIN the llama-quantize built from TREE, DIR a
folder with Llama 2's tokenizer.model. Each round runs both, one after the other; what is printed
are medians, and the median of the rounds' ratios. The files must be equal byte for byte.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.checkpoint import make_checkpoint
from benchmarks.measure import Measured, measure

__all__ = ["main"]


@dataclass(frozen=True, slots=True)
class _Peer:
    llama_cpp: Path
    python: Path
    llama_quantize: Path

    def convert(self, checkpoint: Path, output: Path) -> Measured:
        script = self.llama_cpp / "convert_hf_to_gguf.py"
        return measure(
            [self.python, script, checkpoint, "--outtype", "bf16", "--outfile", output],
            {"HF_HUB_OFFLINE": "1"},
        )

    def quantize(self, source: Path, output: Path, type_: str) -> Measured:
        return measure([self.llama_quantize, source, output, type_])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for option in ("--llama-cpp", "--python", "--llama-quantize", "--tokenizer"):
        parser.add_argument(option, type=Path, required=True)
    parser.add_argument("--billions", type=float, nargs="+", default=[1.07])
    parser.add_argument("--types", nargs="+", default=["q4_0", "q8_0", "q4_k_m"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--alone", action="store_true", help="only localq: time over size")
    args = parser.parse_args()
    peer = _Peer(args.llama_cpp, args.python, args.llama_quantize)
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        for billions in args.billions:
            work = Path(folder)
            checkpoint = work / "random"
            parameters = make_checkpoint(checkpoint, billions, args.tokenizer)
            print(f"\n{parameters / 1e9:.2f} B parameters, {2 * parameters / 1e9:.2f} GB in bf16")
            for type_ in args.types:
                _compare(checkpoint, work, type_, args.rounds, None if args.alone else peer)
            shutil.rmtree(checkpoint)


def _compare(checkpoint: Path, work: Path, type_: str, rounds: int, peer: _Peer | None) -> None:
    ours: list[Measured] = []
    two_steps: list[float] = []
    second_step: list[float] = []
    for _ in range(rounds):
        _warm(checkpoint)
        mine, theirs, between = work / "mine.gguf", work / "theirs.gguf", work / "between.gguf"
        ours.append(_localq(checkpoint, mine, type_))
        if peer is not None:
            _warm(checkpoint)
            first = peer.convert(checkpoint, between)
            second = peer.quantize(between, theirs, type_)
            two_steps.append(first.seconds + second.seconds)
            second_step.append(second.seconds)
            if not filecmp.cmp(mine, theirs, shallow=False):
                sys.exit(f"{type_}: the files differ")
            between.unlink()
            theirs.unlink()
        mine.unlink()
    seconds = [run.seconds for run in ours]
    memory = max(run.anonymous_bytes for run in ours) / 1e6
    line = f"{type_:<8} localq {statistics.median(seconds):6.2f} s, {memory:4.0f} MB of its own"
    if peer is not None:
        both = statistics.median(a / b for a, b in zip(two_steps, seconds, strict=True))
        alone = statistics.median(a / b for a, b in zip(second_step, seconds, strict=True))
        line += (
            f" | two steps {statistics.median(two_steps):6.2f} s: {both:4.1f}x"
            f" | llama-quantize alone {statistics.median(second_step):6.2f} s: {alone:4.1f}x"
            " | files equal"
        )
    print(line, flush=True)


def _localq(checkpoint: Path, output: Path, type_: str) -> Measured:
    command: list[str | Path] = [sys.executable, "-m", "localq", "quantize", type_]
    command += [checkpoint, "-o", output]
    return measure(command)


def _warm(checkpoint: Path) -> None:
    """Both begin with the checkpoint in the page cache, and a disk that has nothing left to do."""
    if hasattr(os, "sync"):
        os.sync()
    with (checkpoint / "model.safetensors").open("rb") as file:
        while file.read(1 << 24):
            pass


if __name__ == "__main__":
    main()
