"""Record what llama-imatrix sees when the bundled model reads a text, dense and with experts.

Run it from the project's root, whenever the llama.cpp release inside llama-cpp-python changes:

    python -m tests.reference.make_imatrix --llama-imatrix BIN --out tests/data/imatrix.json

BIN is the llama-imatrix of that release. The text is that of the file there is already.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from localq.formats.gguf import read_gguf
from tests.imatrix_models import summarize, write_dense, write_experts

CHUNK = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llama-imatrix", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    text = json.loads(arguments.out.read_text(encoding="utf-8"))["text"]
    record = {"text": text, "chunk": CHUNK, "chunks": 0, "models": {}}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "text.txt"
        source.write_text(text, encoding="utf-8")
        dense = write_dense(Path(folder))
        for model in (dense, write_experts(dense)):
            output = model.with_suffix(".imatrix.gguf")
            subprocess.run(
                [
                    *(arguments.llama_imatrix, "-m", model, "-f", source, "-o", output),
                    *("-c", str(CHUNK), "-b", str(CHUNK), "-t", "1", "--no-ppl"),
                ],
                check=True,
                capture_output=True,
            )
            record["chunks"] = read_gguf(output).metadata["imatrix.chunk_count"]
            record["models"][model.stem] = summarize(output)
    arguments.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
