"""localq's one pass beside llama.cpp's two steps, on the same random checkpoint in the same run.

    python -m benchmarks.quantize --llama-cpp TREE --python PYTHON --llama-quantize BIN \\
        --tokenizer DIR [--billions 1.07] [--types q4_0 q8_0 q4_k_m] [--codecs avx512 avx2]
        [--imatrix] [--rounds 3] [--work DIR]

TREE is an unpacked llama.cpp of the release inside the installed llama-cpp-python, PYTHON an
interpreter with the packages its converter wants, BIN the llama-quantize built from TREE, DIR a
folder with Llama 2's tokenizer.model. Each round runs both, one after the other; what is printed
are medians, and the median of the rounds' ratios: of the clock, and of processor time, which other
work on the machine disturbs less. The files must be equal byte for byte. --imatrix has both use a
random importance matrix; --codecs runs localq with each of these.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.checkpoint import make_checkpoint, make_imatrix
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

    def quantize(self, source: Path, output: Path, type_: str, imatrix: Path | None) -> Measured:
        matrix = [] if imatrix is None else ["--imatrix", imatrix]
        return measure([self.llama_quantize, *matrix, source, output, type_])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for option in ("--llama-cpp", "--python", "--llama-quantize", "--tokenizer"):
        parser.add_argument(option, type=Path, required=True)
    parser.add_argument("--billions", type=float, nargs="+", default=[1.07])
    parser.add_argument("--types", nargs="+", default=["q4_0", "q8_0", "q4_k_m"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--codecs", nargs="+", choices=("avx512", "avx2", "engine"), default=[""])
    parser.add_argument("--imatrix", action="store_true")
    parser.add_argument("--alone", action="store_true", help="only localq: time over size")
    args = parser.parse_args()
    peer = _Peer(args.llama_cpp, args.python, args.llama_quantize)
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        for billions in args.billions:
            work = Path(folder)
            checkpoint = work / "random"
            parameters = make_checkpoint(checkpoint, billions, args.tokenizer)
            print(f"\n{parameters / 1e9:.2f} B parameters, {2 * parameters / 1e9:.2f} GB in bf16")
            imatrix = make_imatrix(checkpoint, work / "random.imatrix") if args.imatrix else None
            race = _Race(checkpoint, work, None if args.alone else peer, imatrix)
            for type_ in args.types:
                race.run(type_, args.codecs, args.rounds)
            shutil.rmtree(checkpoint)


@dataclass(frozen=True, slots=True)
class _Race:
    checkpoint: Path
    work: Path
    peer: _Peer | None
    imatrix: Path | None

    def run(self, type_: str, codecs: Sequence[str], rounds: int) -> None:
        ours: dict[str, list[Measured]] = {name: [] for name in codecs}
        conversions: list[Measured] = []
        second_steps: list[Measured] = []
        theirs, between = self.work / "theirs.gguf", self.work / "between.gguf"
        for _ in range(rounds):
            if self.peer is not None:
                _warm(self.checkpoint)
                conversions.append(self.peer.convert(self.checkpoint, between))
                second_steps.append(self.peer.quantize(between, theirs, type_, self.imatrix))
                between.unlink()
            for name in codecs:
                ours[name].append(self._localq(type_, name))
            theirs.unlink(missing_ok=True)
        for name in codecs:
            _print(f"{type_} {name}", ours[name], conversions, second_steps)

    def _localq(self, type_: str, codecs: str) -> Measured:
        _warm(self.checkpoint)
        mine, theirs = self.work / "mine.gguf", self.work / "theirs.gguf"
        command: list[str | Path] = [sys.executable, "-m", "localq", "quantize", type_]
        command += [self.checkpoint, "-o", mine]
        if self.imatrix is not None:
            command += ["--imatrix", self.imatrix]
        measured = measure(command, {"LOCALQ_CODECS": codecs})
        if self.peer is not None and not filecmp.cmp(mine, theirs, shallow=False):
            sys.exit(f"{type_} {codecs}: the files differ")
        mine.unlink()
        return measured


def _print(
    title: str,
    ours: Sequence[Measured],
    conversions: Sequence[Measured],
    second_steps: Sequence[Measured],
) -> None:
    memory = max(run.anonymous_bytes for run in ours) / 1e6
    line = f"{title:<15} localq {_median(ours)}, {memory:4.0f} MB of its own"
    if conversions:
        both = [
            Measured(a.seconds + b.seconds, a.processor_seconds + b.processor_seconds, 0)
            for a, b in zip(conversions, second_steps, strict=True)
        ]
        line += (
            f" | two steps {_median(both)}: {_ratios(both, ours)}"
            f" | llama-quantize alone {_median(second_steps)}: {_ratios(second_steps, ours)}"
            " | files equal"
        )
    print(line, flush=True)


def _median(runs: Sequence[Measured]) -> str:
    seconds = statistics.median(run.seconds for run in runs)
    processor = statistics.median(run.processor_seconds for run in runs)
    return f"{seconds:6.2f} s ({processor:6.2f} s of processor)"


def _ratios(theirs: Sequence[Measured], ours: Sequence[Measured]) -> str:
    pairs = list(zip(theirs, ours, strict=True))
    seconds = statistics.median(a.seconds / b.seconds for a, b in pairs)
    processor = statistics.median(a.processor_seconds / b.processor_seconds for a, b in pairs)
    return f"{seconds:4.1f}x ({processor:4.1f}x)"


def _warm(checkpoint: Path) -> None:
    """Both begin with the checkpoint in the page cache, and a disk that has nothing left to do."""
    if hasattr(os, "sync"):
        os.sync()
    with (checkpoint / "model.safetensors").open("rb") as file:
        while file.read(1 << 24):
            pass


if __name__ == "__main__":
    main()
