"""Record which type llama-quantize gives every tensor of published models, for every file type.

Run it from the project's root, whenever the llama.cpp release inside llama-cpp-python changes,
with a Python that has torch and transformers besides what localq converts with:

    PYTHON -m tests.reference.make_mixtures --llama-quantize BIN --release TEXT \\
        --out tests/data/mixtures [--model NAME ...]

The tensors come from transformers, whose models are made without any weights. localq converts
their headers to a lossless GGUF of which all but the header is a hole; BIN says in a dry run what
it would do with that.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from localq.convert.model import ConvertedModel
from localq.formats.types import QuantType, TensorType
from localq.quantize.imatrix import write_imatrix
from localq.quantize.layout import lay_out
from localq.quantize.options import QuantOptions
from tests.mixtures import NEEDS_MATRIX, REFUSED, convert_headers, describe, fold, unfold
from tests.reference.mixture_models import MIXTURE_MODELS, MixtureModel

__all__ = ["main"]

_TENSOR = re.compile(
    r"^\[ *\d+/ *(\d+)\] (\S+) +- \[([\d, ]+)\], type = +(\w+), size = [^(\n]*(?:\((\w+)\))?$",
    re.MULTILINE,
)
_LACKS_MATRIX = "completing this quantization will require an imatrix"
_NO_FALLBACK = "no tensor type fallback is defined"


def main() -> None:
    """Parse the command line and write one file per model."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--llama-quantize", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--release", required=True, help="recorded as it is")
    parser.add_argument("--model", action="append", choices=[m.name for m in MIXTURE_MODELS])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for model in MIXTURE_MODELS:
        if args.model is None or model.name in args.model:
            record = _record(model, args.llama_quantize, args.release)
            path = args.out / f"{model.name}.json"
            path.write_text(_as_json(record), encoding="utf-8", newline="\n")
            print(model.name, flush=True)


def _record(model: MixtureModel, llama_quantize: Path, release: str) -> dict[str, Any]:
    tensors = _ask_transformers(model) if model.tensors is None else unfold(model.tensors)
    tensors |= {name: tuple(shape) for name, shape in model.more.items()}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        converted = convert_headers(model.config, tensors, work)
        source, matrix = _write_hollow(converted, work)
        types = _dry_runs([llama_quantize, "--dry-run", source])
        weighed = _dry_runs([llama_quantize, "--dry-run", "--imatrix", matrix, source])
    return {
        "model": model.name,
        "llama_cpp": release,
        "config": dict(model.config),
        "tensors": {name: list(shape) for name, shape in fold(tensors).items()},
        "types": types,
        "with_matrix": {name: text for name, text in weighed.items() if text != types[name]},
    }


def _ask_transformers(model: MixtureModel) -> dict[str, tuple[int, ...]]:
    import torch
    import transformers
    from transformers.modeling_utils import no_init_weights

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(model.config))
        config = transformers.AutoConfig.from_pretrained(folder)
    with torch.device("meta"), no_init_weights():
        made = getattr(transformers, model.auto).from_config(config)
    made.tie_weights()
    shapes: dict[str, tuple[int, ...]] = {}
    seen: set[int] = set()
    for name, tensor in made.state_dict(keep_vars=True).items():
        published = model.rename(name) if model.rename else name
        if published is not None and id(tensor) not in seen:  # else it is tied to one before
            seen.add(id(tensor))
            shapes[published] = tuple(tensor.shape)
    return shapes


def _write_hollow(converted: ConvertedModel, work: Path) -> tuple[Path, Path]:
    """The model without loss, and a matrix with a number for each tensor: dry runs ask no more."""
    layout = lay_out(converted.fields, converted.tensors, QuantOptions(QuantType.BF16))
    source, matrix = work / "lossless.gguf", work / "imatrix.gguf"
    with source.open("wb") as file:
        file.write(layout.header)
        file.truncate(layout.size_bytes)
    one = (np.ones(1, np.float32), np.ones(1, np.int64))
    write_imatrix(
        matrix,
        {tensor.name: one for tensor in converted.tensors},
        datasets=["none"],
        chunk_count=1,
        chunk_size=1,
    )
    return source, matrix


def _dry_runs(command: Sequence[str | Path]) -> dict[str, str]:
    """For each file type what llama-quantize would do, in the words of `describe`."""
    found: dict[str, str] = {}
    for quant in QuantType:
        done = subprocess.run(
            [*map(str, command), quant.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        found[quant.name] = _parse(done.stdout, done.returncode)
    return found


def _parse(log: str, code: int) -> str:
    if code and _NO_FALLBACK in log:
        return REFUSED
    rows = _TENSOR.findall(log)
    if code or not rows or len(rows) != int(rows[0][0]):
        raise SystemExit(f"llama-quantize failed ({code}), {len(rows)} tensors:\n{log[-2000:]}")
    if _LACKS_MATRIX in log:
        return NEEDS_MATRIX
    return describe(
        (name, _shape(text), _tensor_type(new or old)) for _, name, text, old, new in rows
    )


def _shape(text: str) -> tuple[int, ...]:
    shape = [int(length) for length in text.split(",")]
    while len(shape) > 1 and shape[-1] == 1:
        shape.pop()
    return tuple(shape)


def _tensor_type(name: str) -> str:
    return TensorType[name.upper()].name


def _as_json(record: Mapping[str, Any]) -> str:
    """One tensor and one type a line."""
    lines = []
    for key, value in record.items():
        if key in ("tensors", "types", "with_matrix") and value:
            rows = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            lines.append(f" {json.dumps(key)}: {{\n{rows}\n }}")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    main()
