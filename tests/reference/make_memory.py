"""Record what llama.cpp takes for models of many shapes.

Run it from the project's root, whenever the llama.cpp release inside llama-cpp-python changes:

    python -m tests.reference.make_memory                      measures the recorded shapes again
    python -m tests.reference.make_memory FILE.gguf ...        records these files' shapes as well

Only the files' headers are read. What was measured on devices is kept as it is.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from localq.formats.gguf import read_gguf
from tests.memory_truths import TRUTHS, Header, Setting, measure, write_hollow

__all__ = ["main"]


def main() -> None:
    """Parse the command line and write one file per model."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("files", type=Path, nargs="*")
    args = parser.parse_args()
    headers: dict[str, Header] = {}
    for path in sorted(TRUTHS.glob("*.json")):
        headers[path.stem] = Header.from_json(json.loads(path.read_text(encoding="utf-8")))
    if args.files:
        headers = {path.stem: Header.of(read_gguf(path)) for path in args.files}
    for name, header in headers.items():
        path = TRUTHS / f"{name}.json"
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        record = _record(name, header) | {"placed": before.get("placed", [])}
        path.write_text(_as_json(record), encoding="utf-8", newline="\n")
        print(name, len(record["truths"]), flush=True)


def _record(name: str, header: Header) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hollow.gguf"
        write_hollow(header, path)
        weights, truths = measure(path, _settings())
    return {
        "model": name,
        "engine": f"llama-cpp-python {version('llama-cpp-python')}",
        **header.to_json(),
        "weights": weights,
        "truths": [[*_numbers(t.setting), t.cache, t.compute] for t in truths],
    }


def _numbers(setting: Setting) -> list[Any]:
    """In the order of the fields; the last one only where it says something."""
    values = [*vars(setting).values()]
    return values if setting.values else values[:-1]


def _settings() -> Iterator[Setting]:
    for n_ctx, n_ubatch, (kv, flash) in product(
        (512, 4096, 32768), (128, 512), (("f16", True), ("f16", False), ("q8_0", True))
    ):
        yield Setting(n_ctx, n_ubatch, kv, flash)
    yield Setting(4096, 512, n_seq=4, n_outputs=4)
    yield Setting(16384, 512, flash=False, n_seq=8, n_outputs=8)
    yield Setting(2048, 512, n_outputs=0)
    # Lengths that are no multiples of anything, types that differ.
    yield Setting(300, 100)
    yield Setting(5000, 2048)
    yield Setting(12345, 512, "q8_0", values="q4_0")
    yield Setting(12345, 512, "q4_0", flash=False, values="f16")
    yield Setting(9000, 256, "q8_0", n_seq=5, n_outputs=5)
    yield Setting(9000, 100, flash=False, n_seq=3, n_outputs=0)


def _as_json(record: dict[str, Any]) -> str:
    """One tensor and one truth a line."""
    lines = []
    for key, value in record.items():
        if isinstance(value, dict) and value:
            rows = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            lines.append(f" {json.dumps(key)}: {{\n{rows}\n }}")
        elif isinstance(value, list) and value:
            rows = ",\n".join(f"  {json.dumps(item)}" for item in value)
            lines.append(f" {json.dumps(key)}: [\n{rows}\n ]")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    main()
