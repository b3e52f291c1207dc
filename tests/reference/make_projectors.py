"""Record what llama.cpp's own converter makes of the projectors of test checkpoints.

Run it from the project's root with a Python that has torch and transformers, whenever the llama.cpp
release inside llama-cpp-python changes:

    PYTHON -m tests.reference.make_projectors --llama-cpp TREE --llama-quantize BIN \\
        --material DIR --release TEXT --out tests/data/projectors [--case NAME ...]

TREE is an unpacked llama.cpp of that release, BIN the llama-quantize built from it. Each case ends
as <case>.json: the checkpoint's config and shapes as `make_families` records them, what
`convert_hf_to_gguf.py --mmproj` makes, and what llama-quantize makes of its F16 file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.families import write_family
from tests.reference.make_families import record_family
from tests.reference.make_reference import CONVERTED, as_json, convert_with_llama_cpp
from tests.reference.projector_cases import PROJECTOR_CASES
from tests.reference.summary import summarize

__all__ = ["main"]

MENDED = """
from conversion.base import ModelBase
from conversion.llava import LlavaVisionModel
LlavaVisionModel.filter_tensors = classmethod(ModelBase.filter_tensors.__func__)
"""
"""The converter of this release drops all of the language model's tensors before it looks for the
one row of them that Pixtral's projector needs; without it, llama.cpp does not load the file."""


def main() -> None:
    """Parse the command line and write one file per case."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    for option in ("--llama-cpp", "--llama-quantize", "--material", "--out"):
        parser.add_argument(option, type=Path, required=True)
    parser.add_argument("--release", required=True, help="recorded as it is")
    parser.add_argument("--case", action="append", choices=[case.name for case in PROJECTOR_CASES])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for case in PROJECTOR_CASES:
        if args.case is not None and case.name not in args.case:
            continue
        path = args.out / f"{case.name}.json"
        record: dict[str, Any] = {**record_family(case), "llama_cpp": args.release}
        path.write_text(json.dumps(record), encoding="utf-8")  # for write_family, which reads it
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            checkpoint = write_family(work / case.name, case.name, args.material, folder=args.out)
            convert_with_llama_cpp(
                *(args.llama_cpp, Path(sys.executable), checkpoint, work),
                options=("--mmproj",),
                mend=MENDED,
            )
            record["outputs"] = {
                name: made.in_full() if name == "f16" else made.hashes()
                for name in CONVERTED
                for made in (summarize(work / name),)
            }
            record["quantized"] = quantized(args.llama_quantize, work / "f16", work)
        path.write_text(as_json(record) + "\n", encoding="utf-8")
        print(case.name, flush=True)


def quantized(llama_quantize: Path, f16: Path, work: Path) -> dict[str, str]:
    """Type -> SHA-256 of what llama-quantize makes of a projector."""
    made: dict[str, str] = {}
    for name in ("Q8_0", "Q4_0"):
        path = work / "quantized"
        command = [str(llama_quantize), str(f16), str(path), name]
        subprocess.run(command, check=True, capture_output=True)
        made[name] = sha256(path.read_bytes()).hexdigest()
    return made


if __name__ == "__main__":
    main()
