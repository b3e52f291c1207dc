"""Predicted memory beside what llama.cpp takes.

    python -m benchmarks.memory [MODEL ...]            the recorded shapes, laid out by the engine
    python -m benchmarks.memory --load FILE.gguf ...   models really loaded, with their process

The first takes no memory: the engine lays models out without allocating them, so that 70 billion
parameters can be measured anywhere (tests/data/memory has the headers). The second loads each file
in localq's own engine, reads half a context of prompt, and compares with what the process then
holds. Percentages are of the total: above 0, more was predicted than was taken.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

from localq.engine.client import Engine, LoadSettings
from localq.engine.sampling import SamplingParams
from localq.formats.gguf import read_gguf
from localq.planning.compute_buffers import output_bytes
from localq.planning.estimate import estimate_memory
from localq.planning.kv_cache import CacheSettings
from localq.planning.model_shape import read_shape
from tests.memory_truths import TRUTHS, Record, Setting, measure, read_truths, write_hollow

__all__ = ["main"]

_GIB = 1 << 30
_MIB = 1 << 20


def main() -> None:
    """Parse the command line and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("models", nargs="*", help="names in tests/data/memory")
    parser.add_argument("--load", type=Path, nargs="+", default=[], metavar="FILE")
    args = parser.parse_args()
    if args.load:
        _load_all(args.load)
        return
    paths = sorted(TRUTHS.glob("*.json"))
    chosen = [path for path in paths if not args.models or path.stem in args.models]
    print("| model | settings | weights | total | compute | off |")
    print("| --- | --- | --- | --- | --- | --- |")
    errors: list[float] = []
    for path in chosen:
        errors += _lay_out(read_truths(path))
    if errors:
        print(f"\n{len(errors)} settings: {min(errors):+.2%} to {max(errors):+.2%}")


def _settings() -> Iterator[Setting]:
    for n_ctx, n_ubatch, (kv, flash) in product(
        (512, 2048, 8192, 32768),
        (64, 128, 512, 1024),
        (("f16", True), ("f16", False), ("q8_0", True), ("q4_0", True)),
    ):
        yield Setting(n_ctx, n_ubatch, kv, flash)
    for n_seq in (2, 8):
        yield Setting(8192, 512, n_seq=n_seq, n_outputs=n_seq)


def _lay_out(record: Record) -> list[float]:
    shape = record.header.shape
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hollow.gguf"
        write_hollow(record.header, path)
        weights, truths = measure(path, _settings())
    errors, compute = [], []
    largest = 0
    for truth in truths:
        settings = truth.setting.cache
        estimate = estimate_memory(shape, settings, n_outputs=truth.setting.outputs)
        outputs = output_bytes(shape, settings, n_outputs=truth.setting.outputs)
        taken = weights + truth.cache + truth.compute + outputs + estimate.overhead
        errors.append(estimate.total / taken - 1)
        compute.append((estimate.compute - outputs) / truth.compute - 1)
        largest = max(largest, taken)
    print(
        f"| {record.name} | {len(truths)} | {weights / _GIB:.2f} GiB"
        f" | up to {largest / _GIB:.2f} GiB | {_range(compute)} | {_range(errors, 2)} |",
        flush=True,
    )
    return errors


def _range(values: Sequence[float], digits: int = 0) -> str:
    return f"{min(values):+.{digits}%} to {max(values):+.{digits}%}"


def _load_all(paths: Sequence[Path]) -> None:
    print("| file | context | predicted | held after use | off |")
    print("| --- | --- | --- | --- | --- |")
    for path in paths:
        file = read_gguf(path)
        shape = read_shape(file.metadata, file.tensors)
        for n_ctx in (512, 4096):
            held = _held(path, n_ctx, shape.weights)
            predicted = estimate_memory(shape, CacheSettings(n_ctx)).total
            print(
                f"| {path.stem} | {n_ctx:,} | {predicted / _MIB:,.0f} MiB | {held / _MIB:,.0f} MiB"
                f" | {predicted / held - 1:+.1%} |",
                flush=True,
            )


def _held(path: Path, n_ctx: int, weights: int) -> int:
    """Bytes that the engine's process asked for and uses, and weights it uses in the file."""
    with Engine() as engine:
        loaded = engine.load(LoadSettings(path, n_ctx=n_ctx))
        prompt = tuple(index % 100 + 10 for index in range(n_ctx // 2))
        engine.generate(prompt, SamplingParams(max_tokens=2), on_text=lambda text: None)
        held = engine.memory().anonymous_bytes
    if held is None:
        raise SystemExit("this system does not say what a process holds")
    copied = sum(b.model_bytes for b in loaded.memory if not b.buffer.endswith("_Mapped"))
    return held + max(0, weights - copied)


if __name__ == "__main__":
    main()
