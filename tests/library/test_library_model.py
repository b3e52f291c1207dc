"""The entries, and `entry`/`stored` that the other library tests make them with."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import localq.library
from localq.library import Library, Model, ModelFormat, ModelSource


def entry(name: str, *, used: float = 1.0, path: Path | None = None, repo: str = "") -> Model:
    """A model of this name: a GGUF if it has a quantization, else a checkpoint."""
    base, _, quant = name.partition(":")
    return Model(
        name=name,
        format=ModelFormat.GGUF if quant else ModelFormat.SAFETENSORS,
        quant=quant or "BF16",
        architecture="llama" if quant else "LlamaForCausalLM",
        parameters=134_515_008,
        size_bytes=30,
        path=path or Path("/models") / base,
        source=ModelSource(repo=repo or base, revision="7e27bd9"),
        created_at=used,
        used_at=used,
    )


def stored(library: Library, name: str, *, used: float = 1.0) -> Model:
    """Put small files for a model of this name on disk, and the model into the library."""
    base, _, quant = name.partition(":")
    if quant:
        path = library.gguf_path(base, quant)
        files = [path]
    else:
        path = library.checkpoint_folder(base)
        files = [path / "config.json", path / "model.safetensors"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"0123456789")
    return library.add(entry(name, used=used, path=path), files)


def test_a_model_cannot_be_changed() -> None:
    model = entry("org/model")
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.name = "other"  # type: ignore[misc]


def test_formats_are_their_names() -> None:
    assert [str(kind) for kind in ModelFormat] == ["gguf", "safetensors", "adapter", "int4"]


def test_the_public_names() -> None:
    assert localq.library.__all__ == ["Library", "Model", "ModelFormat", "ModelSource"]
    assert all(hasattr(localq.library, name) for name in localq.library.__all__)


def test_importing_the_library_loads_nothing_heavy() -> None:
    code = "import sys, localq.library; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "localq.library.library" in loaded
    heavy = {"numpy", "textual", "rich", "click", "llama_cpp", "huggingface_hub", "torch", "gguf"}
    assert not heavy.intersection(loaded)
