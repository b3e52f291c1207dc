"""Greedy texts, byte for byte those of llama.cpp's own `llama-completion`.

LOCALQ_LLAMA_TOOLS names the folder where it is, built from the source in llama-cpp-python's sdist;
else it is looked for in PATH.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from localq.engine.client import Engine, LoadSettings, SamplingParams
from localq.formats.types import QuantType
from tests.engine.test_engine import DEMO, make_gguf, unheard

TYPES = (QuantType.F16, QuantType.Q8_0, QuantType.Q4_0, QuantType.Q4_K_M)
TOKENS = 48
_MORE = 24
"""Tokens that the tool is asked for besides: at its end it loses some of what it has to write."""
PROMPTS = (
    "Once upon a time there was a little dog who",
    "The history of the city begins in the 12th century, when",
)


@pytest.fixture(scope="module")
def llama_completion() -> str:
    folder = os.environ.get("LOCALQ_LLAMA_TOOLS")
    found = shutil.which("llama-completion", path=folder)
    if found is None:
        pytest.skip("llama-completion is not here (LOCALQ_LLAMA_TOOLS names its folder)")
    return found


def theirs(tool: str, gguf: Path, prompt: str, threads: int) -> bytes:
    """What the tool writes after the prompt."""
    run = subprocess.run(
        [
            *(tool, "-m", str(gguf), "-p", prompt, "-n", str(TOKENS + _MORE), "-c", "512"),
            *("--temp", "0", "--ignore-eos", "-t", str(threads), "-tb", str(threads)),
            *("-no-cnv", "--no-display-prompt", "--simple-io", "--no-warmup", "--no-escape"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=600,
        check=True,
    )
    return run.stdout


def ours(engine: Engine, prompt: str) -> bytes:
    params = SamplingParams(max_tokens=TOKENS, temperature=0, ignore_eos=True, logprobs=0)
    done = engine.generate(prompt, params, on_text=unheard)
    assert done.generated_tokens == TOKENS
    return b"".join(bytes(token.bytes) for token in done.logprobs)


def compare(tool: str, checkpoint: Path, folder: Path, type_: QuantType, threads: int) -> None:
    gguf = make_gguf(checkpoint, folder, type_)
    with Engine(log=folder / "engine.log") as engine:
        engine.load(LoadSettings(gguf, n_ctx=512, n_threads=threads))
        for prompt in PROMPTS:
            expected = theirs(tool, gguf, prompt, threads)
            written = ours(engine, prompt)
            assert written == expected[: len(written)], prompt
            assert len(written) > TOKENS
    gguf.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("type_", TYPES, ids=lambda type_: type_.name)
@pytest.mark.parametrize("model", ["stories260K", "tiny-wiki-llama"])
def test_a_small_models_text(
    model: str,
    type_: QuantType,
    llama_completion: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    checkpoint = DEMO
    if model != DEMO.name:
        checkpoint = request.getfixturevalue("material") / "models" / model
    compare(llama_completion, checkpoint, tmp_path, type_, 1)


@pytest.mark.full
@pytest.mark.parametrize("type_", TYPES, ids=lambda type_: type_.name)
def test_a_large_models_text(type_: QuantType, llama_completion: str, tmp_path: Path) -> None:
    checkpoint = os.environ.get("LOCALQ_LARGE_CHECKPOINT")
    if checkpoint is None:
        pytest.skip("LOCALQ_LARGE_CHECKPOINT names none (benchmarks/checkpoint.py makes one)")
    compare(llama_completion, Path(checkpoint), tmp_path, type_, 2)
