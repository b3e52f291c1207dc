"""How long a plan takes, over recorded model shapes and machines of many kinds.

python -m benchmarks.plan
"""

from __future__ import annotations

import statistics
import time

from localq.planning.offload_plan import PlanOptions
from localq.planning.plan import make_plan
from tests.invented_machines import GIB, machine
from tests.memory_truths import TRUTHS, read_truths

__all__ = ["main"]

_PLAN_OPTIONS = (PlanOptions(), PlanOptions(n_gpu_layers=-1), PlanOptions(n_ctx=1 << 24))


def main() -> None:
    machines = [machine(gib * GIB) for gib in (1, 4, 16, 64)]
    machines += [machine(64 * GIB, *([size * GIB] * n)) for n in (1, 2, 8, 16) for size in (2, 24)]
    times: dict[bool, list[float]] = {True: [], False: []}
    for path in sorted(TRUTHS.glob("*.json")):
        shape = read_truths(path).header.shape
        for profile in machines:
            for option in _PLAN_OPTIONS:
                took = []
                for _ in range(3):
                    began = time.perf_counter()
                    plan = make_plan(profile, shape, option)
                    took.append(time.perf_counter() - began)
                times[plan.fits].append(min(took))
    for fits, found in times.items():
        what = "models that fit" if fits else "models that do not"
        median, most = statistics.median(found) * 1e3, max(found) * 1e3
        print(f"{what:<20} {len(found):>6} plans: median {median:.2f} ms, at most {most:.2f} ms")


if __name__ == "__main__":
    main()
