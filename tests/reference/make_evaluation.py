"""What llama-perplexity finds in the demo model's types:

    python -m tests.reference.make_evaluation PATH/TO/llama-perplexity

Writes tests/data/evaluation.json. Run it again where llama.cpp's kernels change.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from localq.formats.types import QuantType
from tests.engine.test_engine import DEMO, make_gguf

DATA = Path(__file__).parents[1] / "data"
TYPES = (QuantType.F16, QuantType.Q8_0, QuantType.Q5_1, QuantType.Q4_0)
N_CTX = 64
_TRIES = 50
_LINES = {
    "perplexity": r"Mean PPL\(Q\) +: +(\S+) ± +(\S+)",
    "log_ratio": r"Mean ln\(PPL\(Q\)/PPL\(base\)\) +: +(\S+) ± +(\S+)",
    "ratio": r"Mean PPL\(Q\)/PPL\(base\) +: +(\S+) ± +(\S+)",
    "difference": r"Mean PPL\(Q\)-PPL\(base\) +: +(\S+) ± +(\S+)",
    "kld": r"Mean +KLD: +(\S+) ± +(\S+)",
    "p_change": r"Mean +Δp: +(\S+) ± +(\S+) %",
    "p_change_rms": r"RMS Δp +: +(\S+) ± +(\S+) %",
    "same_top": r"Same top p: +(\S+) ± +(\S+) %",
    "kld_maximum": r"Maximum KLD: +(\S+)",
    "kld_p99_9": r"99.9% +KLD: +(\S+)",
    "kld_p99": r"99.0% +KLD: +(\S+)",
    "kld_p95": r"95.0% +KLD: +(\S+)",
    "kld_p90": r"90.0% +KLD: +(\S+)",
    "kld_median": r"Median +KLD: +(\S+)",
    "kld_minimum": r"Minimum KLD: +(\S+)",
    "p_change_maximum": r"Maximum Δp: +(\S+)%",
    "p_change_p75": r"75.0% +Δp: +(\S+)%",
    "p_change_median": r"Median +Δp: +(\S+)%",
    "p_change_minimum": r"Minimum Δp: +(\S+)%",
}


def main(tool: str) -> None:
    text = json.loads((DATA / "imatrix.json").read_text(encoding="utf-8"))["text"]
    models: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "text.txt").write_text(text, encoding="utf-8")
        files = {type_.name: make_gguf(DEMO, place, type_) for type_ in TYPES}
        common = (tool, "-c", str(N_CTX), "-t", "2", "--kl-divergence-base", str(place / "base"))
        subprocess.run(
            [*common, "-m", files["F16"], "-f", place / "text.txt"], check=True, capture_output=True
        )
        for name, file in files.items():
            models[name] = _figures([*common, "-m", str(file), "--kl-divergence"])
    found = {"text": text, "n_ctx": N_CTX, "models": models}
    (DATA / "evaluation.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _figures(command: Sequence[str]) -> dict[str, list[float]]:
    """What the tool prints. It may end before all of that is written: then it is asked again."""
    for _ in range(_TRIES):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = {name: re.search(line, done.stdout) for name, line in _LINES.items()}
        if all(found.values()):
            return {n: [float(v) for v in match.groups()] for n, match in found.items() if match}
    raise SystemExit(f"what was printed lacks figures:\n{done.stdout}")


if __name__ == "__main__":
    main(sys.argv[1])
