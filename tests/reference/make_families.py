"""Record what tensors the models of the family tables have, by asking transformers.

Run it from the project's root with a Python that has torch and transformers:

    PYTHON -m tests.reference.make_families --out tests/data/families [--case NAME ...]

A model of each config is made and saved, and the saved file's header read: so tied weights are
left out and names are those of published checkpoints.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.reference.family_case import FamilyCase
from tests.reference.family_cases import FAMILY_CASES

__all__ = ["FAMILY_CASES", "main", "record_family"]


def main() -> None:
    """Parse the command line and write one file per case."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--case", action="append", choices=[case.name for case in FAMILY_CASES])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for case in FAMILY_CASES:
        if args.case is None or case.name in args.case:
            path = args.out / f"{case.name}.json"
            path.write_text(_as_json(record_family(case)), encoding="utf-8", newline="\n")


def record_family(case: FamilyCase) -> dict[str, Any]:
    """The config and what else makes the case, and the shapes of its tensors."""
    shapes = case.tensors if case.tensors is not None else _ask_transformers(case)
    shapes = {**shapes, **case.more}
    quantization = case.config.get("quantization_config", {})
    if quantization and quantization["quant_method"] != "mxfp4":
        shapes = _with_factors(shapes, quantization.get("weight_block_size"))
    record: dict[str, Any] = {
        "config": dict(case.config),
        "tokenizer": case.tokenizer,
        "dtype": case.dtype,
    }
    if case.shards > 1:
        record["shards"] = case.shards
    if case.dtypes:
        record["dtypes"] = dict(case.dtypes)
    if case.added_tokens:
        record["added_tokens"] = list(case.added_tokens)
    if case.files:
        record["files"] = dict(case.files)
    if case.own:
        record["own"] = True
    return {**record, "tensors": {name: list(shape) for name, shape in shapes.items()}}


def _ask_transformers(case: FamilyCase) -> dict[str, list[int]]:
    import transformers

    try:
        from transformers.initialization import no_init_weights
    except ImportError:  # transformers 4
        from transformers.modeling_utils import no_init_weights

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        config = {k: v for k, v in case.config.items() if k != "quantization_config"}
        (root / "config.json").write_text(json.dumps(config))
        with no_init_weights():  # the values matter to nobody
            model = getattr(transformers, case.auto).from_config(
                transformers.AutoConfig.from_pretrained(root)
            )
        model.tie_weights()
        model.save_pretrained(root / "saved", max_shard_size="1TB")
        blob = (root / "saved" / "model.safetensors").read_bytes()
    header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
    shapes: dict[str, list[int]] = {}
    for name, entry in header.items():
        published = case.rename(name) if case.rename else name
        if name != "__metadata__" and published is not None:
            shapes[published] = entry["shape"]
    return shapes


def _with_factors(
    shapes: Mapping[str, Sequence[int]], block: Sequence[int] | None
) -> dict[str, Sequence[int]]:
    """Beside each projection its factors, one for each block, or a single one."""
    found: dict[str, Sequence[int]] = {}
    for name, shape in shapes.items():
        found[name] = shape
        if name.endswith("_proj.weight"):
            found[f"{name}_scale_inv"] = [
                -(-length // size) for length, size in zip(shape, block or shape, strict=True)
            ]
    return found


def _as_json(record: dict[str, Any]) -> str:
    """One tensor a line."""
    tensors = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(shape)}" for name, shape in record["tensors"].items()
    )
    head = json.dumps({k: v for k, v in record.items() if k != "tensors"}, indent=1)
    return head.removesuffix("\n}") + ',\n "tensors": {\n' + tensors + "\n }\n}\n"


if __name__ == "__main__":
    main()
