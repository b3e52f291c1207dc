"""A text goes on after the engine was closed, without being read again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from localq.engine.client import Engine, Generation, LoadSettings, SamplingParams
from localq.formats.types import QuantType
from tests.engine.odd_models import hybrid_gguf, recurrent_gguf
from tests.engine.test_engine import DEMO, make_gguf, unheard

PROMPT = "Once upon a time there was a girl named Lily. She had a big red ball. " * 12


@pytest.fixture(scope="module")
def story_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gguf(DEMO, tmp_path_factory.mktemp("story"), QuantType.F32)


def settings(gguf: Path, folder: Path) -> LoadSettings:
    return LoadSettings(
        gguf, n_ctx=1024, n_threads=1, state_folder=folder / "states", type_k="f32", type_v="f32"
    )


def ask(loading: LoadSettings, prompt: str | list[int]) -> tuple[Generation, list[int]]:
    sampling = SamplingParams(max_tokens=20, temperature=0, ignore_eos=True)
    with Engine() as engine:
        engine.load(loading)
        tokens = engine.tokenize(prompt) if isinstance(prompt, str) else prompt
        return engine.generate(tokens, sampling, on_text=unheard), tokens


@pytest.mark.parametrize("kind", ["attention", "recurrent", "hybrid"])
def test_a_text_goes_on_after_a_restart(kind: str, story_gguf: Path, tmp_path: Path) -> None:
    make = {"recurrent": recurrent_gguf, "hybrid": hybrid_gguf}.get(kind)
    gguf = make(tmp_path / "model.gguf", story_gguf) if make else story_gguf
    loading = settings(gguf, tmp_path)
    first, tokens = ask(loading, PROMPT)
    assert first.reused_tokens == 0
    follow_up = [*tokens, *first.tokens, 300, 301]
    second, _ = ask(loading, follow_up)
    assert second.reused_tokens == len(follow_up) - 3
    alone, _ = ask(replace(loading, state_folder=None), follow_up)
    assert alone.reused_tokens == 0
    assert second.tokens == alone.tokens
    assert len(list((tmp_path / "states").iterdir())) == 1
    if kind == "attention":
        edited, _ = ask(loading, [*tokens[:200], 7])
        assert edited.reused_tokens == 200


def test_states_of_another_cache_type_are_not_taken(story_gguf: Path, tmp_path: Path) -> None:
    loading = settings(story_gguf, tmp_path)
    ask(loading, PROMPT)
    other, _ = ask(replace(loading, type_k="f16", type_v="f16"), PROMPT)
    assert other.reused_tokens == 0
    for path in (tmp_path / "states").iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    assert ask(loading, PROMPT)[0].reused_tokens == 0


def test_states_in_a_folder_that_cannot_be(story_gguf: Path, tmp_path: Path) -> None:
    (tmp_path / "states").touch()
    generation, _ = ask(settings(story_gguf, tmp_path), PROMPT)
    assert generation.generated_tokens == 20
