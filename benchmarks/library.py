"""How fast a large library answers: whole processes of `localq`, and the median of several.

python -m benchmarks.library [--models 1000] [--rounds 9]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from localq.library import Library, Model, ModelFormat, ModelSource
from localq.paths import Paths

_QUANTS = ("Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")


def fill(home: Path, count: int) -> None:
    """Enter `count` models with small files, every tenth with a tag and an alias."""
    library = Library(Paths.from_environment({"LOCALQ_HOME": str(home)}))
    for number in range(count):
        quant = _QUANTS[number % len(_QUANTS)]
        repo = f"org{number % 37}/model-{number}-Instruct"
        path = library.gguf_path(repo, quant)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"GGUF" + number.to_bytes(4, "little"))
        name = f"{repo}:{quant}"
        library.add(
            Model(
                name=name,
                format=ModelFormat.GGUF,
                quant=quant,
                architecture="llama",
                parameters=1_000_000 * (number + 1),
                size_bytes=8,
                path=path,
                source=ModelSource(repo, None),
                created_at=float(number),
                used_at=float(number),
            ),
            [path],
            {path: f"{number:064x}"},
        )
        if number % 10 == 0:
            library.labels.add_alias(name, f"m{number}")
            library.labels.change_tags(name, ["work"], [])


def median(home: Path, rounds: int, *arguments: str) -> tuple[float, float]:
    """Seconds of the whole process `localq ARGUMENTS`: on the clock, and of the processor."""
    times: list[float] = []
    busy: list[float] = []
    environ = {**os.environ, "LOCALQ_HOME": str(home)}
    for _ in range(rounds):
        before = os.times()
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "localq", *arguments],
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        times.append(time.perf_counter() - began)
        after = os.times()
        busy.append(
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        )
    return statistics.median(times), statistics.median(busy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        began = time.perf_counter()
        fill(home, options.models)
        print(f"{options.models} models entered in {time.perf_counter() - began:.1f} s")
        last = f"model-{options.models - 1}-instruct"
        for arguments in (
            ("--version",),
            ("list",),
            ("list", "--json"),
            ("list", "--tag", "work", "--sort", "size"),
            ("path", last),
            ("path", "m0"),
            ("du",),
            ("doctor",),
        ):
            clock, busy = median(home, options.rounds, *arguments)
            print(
                f"localq {' '.join(arguments):<32}"
                f" {1000 * clock:>6.0f} ms, {1000 * busy:>6.0f} ms of the processor"
            )


if __name__ == "__main__":
    main()
