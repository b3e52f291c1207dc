"""The engine over localq's F32 file against transformers over the checkpoint it was made from."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localq.engine.client import Engine, LoadSettings
from localq.events import ignore
from localq.formats.types import QuantType
from localq.library import Library
from localq.paths import Paths
from localq.services.make.quantize import QuantizeRequest, quantize
from tests.checkpoints import LLAMA32_CONFIG, SMOLLM2_CONFIG, write_llama_checkpoint
from tests.services.test_quantize import DEMO

TOKENS = 64
BOUND = 2e-5
"""Of the largest logit, or of 1 if that is smaller. Kernels add up in different orders: those of
x64, AVX, AVX2 and AVX-512 are at most 2e-6 from transformers."""


def reference_logits(root: Path, ids: list[int]) -> Any:
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: torch)")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    model = transformers.AutoModelForCausalLM.from_pretrained(root, dtype=torch.float32)
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0].numpy()


def engine_logits(gguf: Path, ids: list[int], work: Path) -> Any:
    output = work / "logits.f32"
    with Engine(log=work / "engine.log") as engine:
        loaded = engine.load(LoadSettings(path=gguf, n_ctx=TOKENS * 2, type_k="f32", type_v="f32"))
        engine.logits(ids, output)
    return np.fromfile(output, "<f4").reshape(len(ids), loaded.n_vocab)


@pytest.fixture(params=["stories260K", "smollm2", "llama32"])
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Trained; grouped heads with tied embeddings; llama3 rope scaling."""
    if request.param == "stories260K":
        return DEMO
    material: Path = request.getfixturevalue("material")
    config, tokenizer = {
        "smollm2": (SMOLLM2_CONFIG, "smollm2"),
        "llama32": (LLAMA32_CONFIG, "llama3"),
    }[request.param]
    root = tmp_path / str(request.param)
    tokenizer_from = material / "tokenizers" / tokenizer
    return write_llama_checkpoint(root, config=config, tokenizer_from=tokenizer_from)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_logits_are_transformers(home: Paths, checkpoint: Path, tmp_path: Path) -> None:
    ids = [1, *(int(i) for i in np.random.default_rng(7).integers(3, 500, TOKENS - 1))]
    expected = reference_logits(checkpoint, ids)
    gguf = tmp_path / "model.gguf"
    request = QuantizeRequest(QuantType.F32, str(checkpoint), gguf)
    with Library() as library:
        quantize(library, request, ignore, threading.Event())
    logits = engine_logits(gguf, ids, tmp_path)
    assert logits.shape == expected.shape
    size = float(np.abs(expected).max())
    assert size > 0.5  # logits of nothing would agree too
    difference = float(np.abs(logits - expected).max())
    assert difference < BOUND * max(1.0, size), f"{difference:.2e} of {size:.2f}"
