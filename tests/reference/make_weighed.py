"""Record what llama-quantize makes of a checkpoint with an importance matrix, in every type.

    python -m tests.reference.make_weighed --llama-cpp TREE --python PYTHON \\
        --llama-quantize BIN --material DIR

The matrix is made here (no model is run): its numbers only have to be the same on both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from localq.convert import convert_checkpoint, open_checkpoint
from localq.convert.model import ConvertedModel
from localq.formats.types import QuantType
from localq.quantize.imatrix import write_imatrix
from tests.checkpoints import LLAMA2_CONFIG, write_llama_checkpoint

__all__ = ["MATRIX", "RECORD", "TYPES", "make_checkpoint", "make_matrix"]

RECORD = Path(__file__).parents[1] / "data" / "reference" / "weighed.json"
MATRIX = "imatrix.gguf"
"""The name goes into the file that is made, so both sides must use it as it is."""
TYPES = tuple(type_ for type_ in QuantType if type_.default.is_quantized)


def make_checkpoint(root: Path, material: Path) -> ConvertedModel:
    config = {**LLAMA2_CONFIG, "num_hidden_layers": 8}
    tokenizer = material / "tokenizers" / "llama2"
    write_llama_checkpoint(root, config=config, dtype="F16", tokenizer_from=tokenizer)
    return convert_checkpoint(open_checkpoint(root))


def make_matrix(path: Path, model: ConvertedModel) -> None:
    """Importance for every matrix of the layers, from the raw words of PCG64."""
    bits = np.random.PCG64(5)
    sums = {}
    for tensor in model.tensors:
        if tensor.name.startswith("blk.") and not tensor.always_f32:
            words = bits.random_raw(tensor.columns) >> np.uint64(40)
            values: npt.NDArray[np.float32] = np.divide(words.astype(np.float32) + 1, 1 << 20)
            sums[tensor.name] = (values[np.newaxis, :], np.ones(1, np.int64))
    write_imatrix(path, sums, datasets=["made up"], chunk_count=3, chunk_size=512)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for option in ("--llama-cpp", "--python", "--llama-quantize", "--material"):
        parser.add_argument(option, type=Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        root = work / "weighed"
        make_matrix(work / MATRIX, make_checkpoint(root, args.material))
        script = args.llama_cpp / "convert_hf_to_gguf.py"
        convert = [args.python, script, root, "--outtype", "f16", "--outfile", work / "f16"]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        subprocess.run(convert, check=True, capture_output=True, env=environment)
        hashes: dict[str, str] = {}
        for type_ in TYPES:
            command = [args.llama_quantize, "--imatrix", MATRIX, "f16", "out", type_.name]
            subprocess.run(command, check=True, capture_output=True, cwd=work)
            hashes[type_.name] = sha256((work / "out").read_bytes()).hexdigest()
    RECORD.write_text(json.dumps(hashes, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
