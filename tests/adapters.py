"""Small LoRA adapters as PEFT saves them, for the checkpoints of the model families."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.checkpoints import write_json, write_weights
from tests.families import read_family

__all__ = ["write_adapter"]


def write_adapter(
    root: Path, case: str, targets: Sequence[str], *, rank: int = 4, dtype: str = "F32", **more: Any
) -> Path:
    """An adapter with random A and B for the matrices of `case` whose names end so."""
    root.mkdir(parents=True, exist_ok=True)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in read_family(case).tensors.items():
        stem = name.removesuffix(".weight")
        if stem != name and stem.endswith(tuple(targets)) and len(shape) == 2:
            shapes[f"base_model.model.{stem}.lora_A.weight"] = (rank, shape[1])
            shapes[f"base_model.model.{stem}.lora_B.weight"] = (shape[0], rank)
    write_weights(
        root, shapes, dtype=lambda _: dtype, seed=1, shards=1, spread=lambda shape: (0.2, 0.5)
    )
    (root / "model.safetensors").rename(root / "adapter_model.safetensors")
    config = {
        "base_model_name_or_path": f"org/{case}",
        "bias": "none",
        "lora_alpha": 8,
        "peft_type": "LORA",
        "r": rank,
        "target_modules": list(targets),
        "task_type": "CAUSAL_LM",
        "use_rslora": False,
    }
    write_json(root / "adapter_config.json", config | more)
    return root
