"""What a client may send and a disk may hold: the engine answers in one line and goes on."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from localq.engine.client import Engine, LoadSettings, SamplingParams
from localq.errors import EngineError, UsageError
from localq.formats.types import QuantType
from tests.engine.test_engine import DEMO, ONCE, make_gguf, unheard
from tests.engine.test_engine_states import PROMPT, ask, settings

GREEDY = SamplingParams(max_tokens=8, temperature=0)
TEN_MB = "Once upon a time. " * 580_000


@pytest.fixture(scope="module")
def story_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gguf(DEMO, tmp_path_factory.mktemp("story"), QuantType.F32)


@pytest.fixture(scope="module")
def engine(story_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(log=tmp_path_factory.mktemp("log") / "engine.log") as engine:
        engine.load(LoadSettings(story_gguf, n_ctx=256, n_threads=1, n_seq_max=2))
        yield engine


def test_ten_megabytes_of_text_hold_up_nobody(engine: Engine) -> None:
    """It is not even tokenised, while another text grows."""
    done: list[int] = []

    def other() -> None:
        while not done:
            assert engine.generate(ONCE, GREEDY, on_text=unheard).generated_tokens == 8

    thread = threading.Thread(target=other)
    thread.start()
    with pytest.raises(EngineError, match=r"the prompt is at least [\d,]+ tokens long; .* 256"):
        engine.generate(TEN_MB, GREEDY, on_text=unheard)
    with pytest.raises(UsageError, match=r"text 1 is at least [\d,]+ tokens long"):
        engine.embed([TEN_MB])
    done.append(1)
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    "prompt", ["", "\0", "a\0b", "\ud800", "x\udfff\ud800 y", "\uffff\U0010ffff"]
)
def test_prompts_of_odd_characters(engine: Engine, prompt: str) -> None:
    done = engine.generate(prompt, GREEDY, on_text=unheard)
    assert done.generated_tokens or done.stop == "eos"
    done.text.encode()
    assert engine.generate(ONCE, GREEDY, on_text=unheard).text.startswith(", there was")


@pytest.mark.parametrize(
    "schema",
    [
        {
            "$ref": "#/$defs/list",
            "$defs": {"list": {"type": "array", "items": {"$ref": "#/$defs/list"}, "minItems": 1}},
        },
        {
            "$ref": "#/$defs/node",
            "$defs": {
                "node": {
                    "type": "object",
                    "properties": {"next": {"$ref": "#/$defs/node"}},
                    "required": ["next"],
                }
            },
        },
    ],
    ids=["lists", "objects"],
)
def test_a_schema_that_never_ends(engine: Engine, schema: dict[str, object]) -> None:
    """The text ends with its tokens, its context, or a cancel."""
    params = SamplingParams(max_tokens=40, temperature=0, json_schema=json.dumps(schema))
    assert engine.generate(ONCE, params, on_text=unheard).stop == "length"
    endless = replace(params, max_tokens=10**6)
    assert engine.generate(ONCE, endless, on_text=unheard).stop == "context"
    cancel = threading.Event()
    stopped = engine.generate(ONCE, endless, cancel=cancel, on_text=lambda _: cancel.set())
    assert stopped.stop == "cancelled"


def test_states_that_are_none_of_ours(story_gguf: Path, tmp_path: Path) -> None:
    """Cut off, of another model, or no state at all: read again, and told nobody."""
    loading = settings(story_gguf, tmp_path)
    first, _ = ask(loading, PROMPT)
    (state,) = (tmp_path / "states").iterdir()
    whole = state.read_bytes()
    for data in (whole[: len(whole) // 2], b'{"format": ' + b"[" * 4000):
        state.write_bytes(data)
        again, _ = ask(replace(loading, state_bytes=0), PROMPT)  # nothing is written anew
        assert again.reused_tokens == 0, data[:40]
        assert again.tokens == first.tokens
    other = make_gguf(DEMO, tmp_path, QuantType.Q8_0)
    state.unlink(missing_ok=True)
    ask(replace(loading, path=other), PROMPT)
    (foreign,) = state.parent.iterdir()
    foreign.rename(state)
    assert ask(loading, PROMPT)[0].reused_tokens == 0


@pytest.mark.skipif(sys.platform != "linux", reason="limits another process's files")
def test_a_disk_that_is_full_while_states_are_saved(story_gguf: Path, tmp_path: Path) -> None:
    """Nothing half-made stays, and the engine goes on."""
    import resource

    with Engine(log=tmp_path / "log") as engine:
        engine.load(settings(story_gguf, tmp_path))
        sampling = SamplingParams(max_tokens=4, temperature=0)
        first = engine.generate(PROMPT, sampling, on_text=unheard)
        assert engine.pid is not None
        limits = resource.prlimit(engine.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(engine.pid, resource.RLIMIT_FSIZE, (4096, limits[1]))
        engine.save_states()
        assert list((tmp_path / "states").iterdir()) == []
        resource.prlimit(engine.pid, resource.RLIMIT_FSIZE, limits)
        second = engine.generate(PROMPT, sampling, on_text=unheard)
        assert second.tokens == first.tokens
        engine.save_states()
        assert len(list((tmp_path / "states").iterdir())) == 1
