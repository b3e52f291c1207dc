"""Every family's F32 file through the engine against transformers over its checkpoint.

The proof that what was converted is the model: names, row orders, shifts, scales and metadata.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localq.convert import convert_checkpoint, open_checkpoint
from localq.engine.client import Engine, LoadSettings
from localq.events import ignore
from localq.formats.types import QuantType
from localq.quantize.layout import lay_out
from localq.quantize.options import QuantOptions
from localq.quantize.writer import write_file
from tests.families import FAMILIES, read_family, write_family

TOKENS = 64
BOUND = 2e-5
"""Of the largest logit, or of 1 if that is smaller. Kernels add up in different orders: those of
x64, AVX, AVX2 and AVX-512 are at most 2e-6 from transformers."""
GELU_BOUND = 2e-3
"""The same for models with GELU, which llama.cpp looks up in a table of half precision: where a
kernel adds up in another order, a number falls on the other side of a border, and what is found
there differs by a thousandth. The same kernels are at most 6e-4 from transformers, whose GELU is
looked up here, too."""

WITHOUT_LOGITS: dict[str, str] = {
    "mistral-fp8": "transformers multiplies 8-bit floats on a GPU only",
    "gpt-oss": "transformers reads MXFP4 with the package accelerate only",
    "qwen3-fp8": "transformers multiplies 8-bit floats on a GPU only",
    **dict.fromkeys(
        (
            *("bge-tiny", "distilbert-tiny", "embedding-gemma", "jina-tiny", "modernbert-reranker"),
            *("modernbert-tiny", "neobert-tiny", "nomic-tiny"),
            *("reranker-tiny", "roberta-tiny"),
        ),
        "an encoder has none",
    ),
    **dict.fromkeys(
        ("mistral-own", "ministral3-own"), "transformers does not read Mistral's own files"
    ),
    "llama4-tiny": "transformers' class that also sees takes no text alone",
    "phimoe-tiny": "llama.cpp weighs the experts by a softmax, transformers by a mixer of its own",
    "command-r-plus-tiny": "llama.cpp reads its norms from 64 layers up, too many for a test",
    **dict.fromkeys(
        (
            *(
                "baichuan-tiny",
                "internlm2-tiny",
                "internvl-text",
                "kimi-k2",
                "ling-tiny",
                "ling2-tiny",
            ),
            *("ling2-tiny", "minicpm3-tiny", "minicpm4-tiny"),
        ),
        "transformers has the model only as code in the checkpoint",
    ),
}
"""Case -> why its logits are not compared."""

POSITIONS = {"gemma3n-tiny": 8}
"""Case -> how many of the positions are compared, where it is not all: by chance these weights make
of a change by a millionth in the first ones one by a tenth in the last."""

CASES = sorted(path.stem for path in FAMILIES.glob("*.json") if path.stem not in WITHOUT_LOGITS)


def reference_logits(root: Path, architecture: str, ids: list[int]) -> tuple[Any, bool]:
    """transformers' logits, and whether the model has a GELU."""
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: torch)")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    kind = getattr(transformers, architecture, transformers.AutoModelForCausalLM)
    model = kind.from_pretrained(root, dtype=torch.float32, attn_implementation="eager").eval()
    gelus = [module for module in model.modules() if "gelu" in type(module).__name__.lower()]
    for module in gelus:
        module.forward = _gelu_by_table(torch, module.forward)
    for module in model.modules():
        if hasattr(module, "_gaussian_topk"):
            module._gaussian_topk = _sparse_by_sample(torch, module.activation_sparsity)
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0].numpy(), bool(gelus)


def _gelu_by_table(torch: Any, gelu: Any) -> Any:
    """As llama.cpp computes it on a processor: looked up in a table of half precision."""

    def forward(x: Any) -> Any:
        looked_up = gelu(x.half().float()).half().float()
        return torch.where(x >= 10, x, torch.where(x <= -10, torch.zeros_like(x), looked_up))

    return forward


def _sparse_by_sample(torch: Any, sparsity: float) -> Any:
    """What few neurons Gemma 3n keeps, as llama.cpp chooses them: by the deviation of a sample, one
    less than their number being the divisor. Of 16,384 neurons that is nothing, of 128 it is."""
    multiplier = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(sparsity))

    def forward(x: Any) -> Any:
        mean, deviation = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
        return torch.relu(x - (mean + deviation * multiplier))

    return forward


def engine_logits(root: Path, ids: list[int], work: Path) -> Any:
    gguf, output = work / "model.gguf", work / "logits.f32"
    model = convert_checkpoint(open_checkpoint(root))
    layout = lay_out(model.fields, model.tensors, QuantOptions(QuantType.F32))
    write_file(gguf, layout, threads=2, emit=ignore, cancel=threading.Event())
    with Engine(log=work / "engine.log") as engine:
        loaded = engine.load(LoadSettings(path=gguf, n_ctx=2 * TOKENS, type_k="f32", type_v="f32"))
        engine.logits(ids, output)
    gguf.unlink()
    return np.fromfile(output, "<f4").reshape(len(ids), loaded.n_vocab)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES)
def test_logits_are_transformers(case: str, material: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed (extra: torch)")
    config = read_family(case).config
    root = write_family(tmp_path / case, case, material)
    words = np.random.default_rng(7).integers(3, 500, TOKENS - 1)
    ids = [1, *(int(word) for word in words)]
    expected, has_gelu = reference_logits(root, config["architectures"][0], ids)
    logits = engine_logits(root, ids, tmp_path)
    assert logits.shape == expected.shape
    logits, expected = (found[: POSITIONS.get(case)] for found in (logits, expected))
    size = float(np.abs(expected).max())
    assert size > 0.3  # logits of nothing would agree too
    difference = float(np.abs(logits - expected).max())
    bound = GELU_BOUND if has_gelu else BOUND
    assert difference < bound * max(1.0, size), f"{difference:.2e} of {size:.2f}"
