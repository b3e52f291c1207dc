"""Going back in texts of models whose memory cannot be cut: always what is read anew."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from localq.engine.client import Engine, Generation, LoadSettings, SamplingParams
from localq.formats.types import QuantType
from tests.engine.odd_models import hybrid_gguf, recurrent_gguf
from tests.engine.test_engine import DEMO, make_gguf, unheard
from tests.engine.test_engine_many import same_but_for_ties
from tests.families import write_family


def sliding_gguf(path: Path, _: Path, material: Path) -> Path:
    checkpoint = write_family(path.with_suffix(""), "gemma3-tiny", material)
    return make_gguf(checkpoint, path.parent, QuantType.F32)


NEAR = 2e-3
"""Logits of the same tokens in batches of different shapes differ by less."""

KINDS: dict[str, Callable[[Path, Path, Path], Path]] = {
    "recurrent": lambda path, story, _: recurrent_gguf(path, story),
    "hybrid": lambda path, story, _: hybrid_gguf(path, story),
    "sliding": sliding_gguf,
}


@pytest.fixture(scope="module", params=KINDS)
def gguf(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    material: Path = request.getfixturevalue("material")
    story = make_gguf(DEMO, folder, QuantType.F32)
    return KINDS[request.param](folder / "model.gguf", story, material)


def generate(engine: Engine, prompt: list[int]) -> Generation:
    sampling = SamplingParams(max_tokens=12, temperature=0, ignore_eos=True, logprobs=2)
    return engine.generate(prompt, sampling, on_text=unheard)


@pytest.mark.parametrize("n_seq_max", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_going_back_is_as_good_as_reading_anew(gguf: Path, n_seq_max: int) -> None:
    exact = {"n_threads": 1, "type_k": "f32", "type_v": "f32"}
    settings = LoadSettings(gguf, n_ctx=4096, n_seq_max=n_seq_max, **exact)  # type: ignore[arg-type]
    prompt = [1 + (7 * i + i * i // 5) % 250 for i in range(1300)]
    with Engine() as engine, Engine() as anew:
        engine.load(settings)
        first = generate(engine, prompt)
        follow_up = [*prompt, *first.tokens, 5, 6, 7]
        cases = [
            (prompt, 1024),
            (follow_up, 1024),
            ([*follow_up[:-2], 9], 1024),
            ([*prompt[:600], 4], 512),
            ([3, 2, 1], 0),
            (follow_up, 1024 if n_seq_max > 1 else 0),
        ]
        for tokens, at_least in cases:
            again = generate(engine, tokens)
            anew.load(settings)
            fresh = generate(anew, tokens)
            assert same_but_for_ties(again, fresh, NEAR), len(tokens)
            assert again.reused_tokens >= at_least, len(tokens)
        with ThreadPoolExecutor(3) as pool:
            ends = [[*prompt[: 300 + 50 * i], i] for i in range(6)]
            together = list(pool.map(lambda tokens: generate(engine, tokens), ends))
        for tokens, generation in zip(ends, together, strict=True):
            anew.load(settings)
            assert same_but_for_ties(generation, generate(anew, tokens), NEAR)
