"""A backend that is none, and a small checkpoint for it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from localq.gpu_quant.backends import PYTHON_VARIABLE
from tests.checkpoints import SMOLLM2_CONFIG, write_llama_checkpoint

_FAKE = Path(__file__).with_name("fake_backend.py")


@pytest.fixture
def fake_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of an environment's Python, a script that runs the fake whatever it is told to."""
    if sys.platform == "win32":
        pytest.skip("the backend's stand-in is a shell script")
    python = tmp_path / "backend" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{_FAKE}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv(PYTHON_VARIABLE, str(python))
    return python


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A Llama of two layers whose matrices have whole groups of 128."""
    config = {
        **SMOLLM2_CONFIG,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_hidden_layers": 2,
        "vocab_size": 256,
    }
    folder = write_llama_checkpoint(tmp_path / "small", config=config, dtype="F16")
    (folder / "tokenizer.json").write_text("{}")
    return folder
