"""Record what llama.cpp's own script makes of small LoRA adapters.

Run it from the project's root:

    python -m tests.reference.make_adapters --llama-cpp TREE --python PYTHON --material DIR

TREE and PYTHON as for `make_reference`. Hashes go to `tests/data/adapters.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from tests.adapters import write_adapter
from tests.families import write_family

__all__ = ["ADAPTERS", "RECORD", "main"]

RECORD = Path(__file__).parents[1] / "data" / "adapters.json"
ADAPTERS: Mapping[str, Sequence[str]] = {
    "mistral-tiny": ("q_proj", "k_proj", "v_proj", "o_proj", "down_proj"),
    "phi3-tiny": ("qkv_proj", "gate_up_proj"),
    "qwen3-tiny": ("q_proj", "v_proj", "gate_proj", "up_proj"),
    "gemma2-tiny": ("q_proj", "k_proj"),
}
"""Case -> the modules that its adapter changes."""


def main() -> None:
    """Parse the command line and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    for option in ("--llama-cpp", "--python", "--material"):
        parser.add_argument(option, type=Path, required=True)
    args = parser.parse_args()
    record: dict[str, dict[str, str]] = {}
    for case, targets in ADAPTERS.items():
        with tempfile.TemporaryDirectory() as folder:
            base = write_family(Path(folder) / case, case, args.material)
            adapter = write_adapter(Path(folder) / f"{case}-adapter", case, targets)
            record[case] = {}
            for outtype in ("f32", "f16", "bf16"):
                out = Path(folder) / "out.gguf"
                script = args.llama_cpp / "convert_lora_to_gguf.py"
                options: list[str | Path] = ["--base", base, "--outtype", outtype, "--outfile", out]
                subprocess.run(
                    [args.python, script, *options, adapter],
                    env={**os.environ, "HF_HUB_OFFLINE": "1"},
                    check=True,
                    capture_output=True,
                )
                record[case][outtype] = sha256(out.read_bytes()).hexdigest()
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
