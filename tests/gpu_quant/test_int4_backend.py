"""AWQ and GPTQ by the real backend: made, reloaded by transformers, nearer than rounding.

Wants an environment with gptqmodel: of `localq backend install gptqmodel` in the home of whoever
runs the tests (before they have homes of their own), or named by LOCALQ_BACKEND_PYTHON.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType
from gguf.quants import dequantize, quantize

from localq.events import ignore
from localq.gpu_quant.backends import PYTHON_VARIABLE
from localq.gpu_quant.checkpoint import read_int4
from localq.gpu_quant.environments import find
from localq.gpu_quant.options import Method
from localq.library import Library
from localq.paths import Paths
from localq.services.int4.quantize import Int4Request, Int4Result, quantize_int4
from tests.checkpoints import RawTensor, read_safetensors, write_json, write_safetensors

pytestmark = pytest.mark.int4

_SCRIPT = Path(__file__).with_name("perplexities.py")


def _installed() -> str | None:
    """Looked up while tests are collected, as long as the home is that of whoever runs them."""
    found = find("gptqmodel")
    return str(found.python) if found else None


_FOUND = os.environ.get(PYTHON_VARIABLE) or _installed()


@pytest.fixture(scope="module")
def python() -> Iterator[Path]:
    if not _FOUND or not Path(_FOUND).is_file():
        pytest.skip("no environment of gptqmodel (localq backend install gptqmodel)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PYTHON_VARIABLE, _FOUND)  # the homes of tests have none
        yield Path(_FOUND)


@pytest.fixture(scope="module")
def int4_library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    root = tmp_path_factory.mktemp("int4")
    return Library(Paths(root / "data", root / "config", root / "cache", root / "log"))


@pytest.fixture(scope="module")
def texts(material: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two halves of WikiText-2's test text: to calibrate with, and to be measured on."""
    text = (material / "corpora" / "wiki.test.raw").read_text(encoding="utf-8")
    folder = tmp_path_factory.mktemp("texts")
    halves = folder / "first.txt", folder / "second.txt"
    for path, half in zip(halves, (text[: len(text) // 2], text[len(text) // 2 :]), strict=True):
        path.write_text(half, encoding="utf-8")
    return halves


def made(library: Library, folder: Path, text: Path, method: Method, **options: Any) -> Int4Result:
    values = {"calib_samples": 64, "calib_length": 256, "device": "cpu", **options}
    request = Int4Request(method, str(folder), calib=str(text), **values)
    return quantize_int4(library, request, ignore, threading.Event())


def perplexities(
    python: Path, folder: Path, text: Path, models: list[dict[str, Any]]
) -> Mapping[str, Mapping[str, float]]:
    request = folder / "perplexities.json"
    asked = {"text": str(text), "windows": 40, "length": 256, "models": models}
    request.write_text(json.dumps(asked), encoding="utf-8")
    ended = subprocess.run(
        [python, "-s", _SCRIPT, request], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    found: dict[str, dict[str, float]] = json.loads(ended.stdout.splitlines()[-1])
    return found


def as_q4_0(source: Path, target: Path) -> Path:
    """The weights of the layers as llama.cpp's Q4_0 has them, as float32 again."""
    weights: dict[str, RawTensor] = {}
    for name, (dtype, shape, data) in read_safetensors(source / "model.safetensors").items():
        if ".layers." in name and len(shape) == 2:
            assert dtype == "BF16"
            bits = np.frombuffer(data, dtype="<u2").astype("<u4") << 16
            values = bits.view("<f4").reshape(shape)
            kind = GGMLQuantizationType.Q4_0
            rounded = dequantize(quantize(values, kind), kind).astype("<f4")
            weights[name] = ("F32", shape, rounded.tobytes())
    write_safetensors(target, weights, {"format": "pt"})
    return target


def test_a_trained_llama_is_nearer_than_rounded(
    python: Path,
    int4_library: Library,
    material: Path,
    texts: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = material / "models" / "tiny-wiki-llama"
    gptq = made(int4_library, folder, texts[0], Method.GPTQ)
    awq = made(int4_library, folder, texts[0], Method.AWQ)
    gguf = as_q4_0(folder, tmp_path / "q4_0.safetensors")
    table = perplexities(
        python,
        tmp_path,
        texts[1],
        [
            {"name": "F32", "folder": str(folder)},
            {"name": "rounded", "folder": str(folder), "round": [4, 128]},
            {"name": "Q4_0", "folder": str(folder), "weights": str(gguf)},
            {"name": "GPTQ", "folder": str(gptq.path), "packed": True},
            {"name": "AWQ", "folder": str(awq.path), "packed": True},
        ],
    )
    with capsys.disabled():
        for name, found in table.items():
            os.write(2, f"\n{name:8} {found['perplexity']:.3f} {found['cosine']:.5f}".encode())
    assert table["GPTQ"]["cosine"] > table["rounded"]["cosine"]
    assert table["GPTQ"]["perplexity"] < table["rounded"]["perplexity"]
    for name in ("GPTQ", "AWQ", "Q4_0"):
        assert table[name]["perplexity"] < table["F32"]["perplexity"] * 1.1


def tiny_qwen2(material: Path, folder: Path) -> Path:
    """Qwen2 of two layers with random weights, biases on its projections."""
    shutil.copytree(material / "models" / "tiny-wiki-llama", folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "num_hidden_layers": 2,
        "tie_word_embeddings": False,
    }
    (folder / "config.json").unlink()
    write_json(folder / "config.json", config)
    tensors = read_safetensors(folder / "model.safetensors")
    kept = {
        name: tensor
        for name, tensor in tensors.items()
        if not any(f".layers.{layer}." in name for layer in (2, 3, 4))
    }
    for name, (dtype, shape, _) in list(kept.items()):
        if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
            bias = name.replace("weight", "bias")
            kept[bias] = (dtype, shape[:1], bytes(2 * shape[0]))
    (folder / "model.safetensors").unlink()
    write_safetensors(folder / "model.safetensors", kept, {"format": "pt"})
    return folder


@pytest.mark.parametrize("method", list(Method))
def test_a_qwen2(
    python: Path,
    int4_library: Library,
    material: Path,
    texts: tuple[Path, Path],
    tmp_path: Path,
    method: Method,
) -> None:
    folder = tiny_qwen2(material, tmp_path / "qwen2")
    result = made(int4_library, folder, texts[0], method, calib_samples=16)
    assert result.cosine is not None
    assert result.cosine > 0.99
    found = read_int4(result.path)
    assert found.architecture == "Qwen2ForCausalLM"
    assert len(found.packed) == 14
    assert set(found.dtypes) == {"F16", "I32"}  # vLLM's plain AWQ kernel takes no bfloat16 scales


@pytest.mark.full
@pytest.mark.parametrize(
    ("method", "options"),
    [
        (Method.GPTQ, {"bits": 2}),
        (Method.GPTQ, {"bits": 3}),
        (Method.GPTQ, {"bits": 8}),
        (Method.GPTQ, {"group_size": 32}),
        (Method.GPTQ, {"group_size": 256}),
        (Method.GPTQ, {"group_size": -1}),
        (Method.GPTQ, {"desc_act": True}),
        (Method.GPTQ, {"symmetric": False}),
        (Method.GPTQ, {"keep": ("self_attn",)}),
        (Method.AWQ, {"group_size": 32}),
        (Method.AWQ, {"group_size": 64}),
        (Method.AWQ, {"keep": ("self_attn",)}),
    ],
)
def test_every_option(
    python: Path,
    int4_library: Library,
    material: Path,
    texts: tuple[Path, Path],
    method: Method,
    options: dict[str, Any],
) -> None:
    folder = material / "models" / "tiny-wiki-llama"
    result = made(int4_library, folder, texts[0], method, force=True, **options)
    assert result.cosine is not None
    assert result.cosine > 0.99
    kept = read_int4(result.path).kept
    assert len(kept) == (20 if "keep" in options else 0)
