"""Every way of choosing tokens, with llama.cpp."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from localq.engine.client import Engine, Generation, LoadSettings, SamplingParams
from localq.engine.sampling import LogitBias
from localq.errors import EngineError, UsageError
from localq.formats.types import QuantType
from tests.engine.test_engine import DEMO, ONCE, make_gguf, unheard

PERSON = json.dumps(
    {
        "type": "object",
        "properties": {"name": {"enum": ["Tom", "Lily"]}, "age": {"type": "integer"}},
        "required": ["name", "age"],
    }
)
ENDLESS_SCHEMA = json.dumps(
    {"$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("story")
    gguf = make_gguf(DEMO, folder, QuantType.F32)
    with Engine(log=folder / "engine.log") as engine:
        # All exact: what is read again one by one then gives the same logits as in one batch.
        engine.load(LoadSettings(gguf, n_threads=1, n_seq_max=2, type_k="f32", type_v="f32"))
        yield engine


def generate(engine: Engine, prompt: str = ONCE, **sampling: Any) -> Generation:
    given = {"max_tokens": 24, "seed": 7, **sampling}
    return engine.generate(prompt, SamplingParams(**given), on_text=unheard)


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 1.5},
        {"dynatemp_range": 0.5, "dynatemp_exponent": 1.5},
        {"top_k": 0, "top_p": 0.5},
        {"min_p": 0.3},
        {"typical_p": 0.4},
        {"top_n_sigma": 0.5},
        {"repeat_penalty": 1.4},
        {"frequency_penalty": 2.0},
        {"presence_penalty": 2.0, "penalty_last_n": -1},
        {"dry_multiplier": 2.0, "dry_allowed_length": 1, "dry_penalty_last_n": -1},
        {"xtc_probability": 1.0, "xtc_threshold": 0.02},
        {"mirostat": 1, "mirostat_tau": 9.0},
        {"mirostat": 2, "mirostat_tau": 9.0},
        {"logit_bias": (LogitBias(432, 30.0),)},
    ],
    ids=lambda sampling: next(iter(sampling)),
)
def test_every_setting_counts_and_repeats_itself(engine: Engine, sampling: dict[str, Any]) -> None:
    prompt = "Tom ran. Tom ran. Tom ran. Tom"
    hot = {"temperature": 2.0, "min_p": 0.0, "max_tokens": 60}
    texts = [generate(engine, prompt, **{**hot, **sampling}).text for _ in range(2)]
    assert texts[0] == texts[1]
    assert texts[0] != generate(engine, prompt, **hot).text


def test_a_banned_token_is_never_said(engine: Engine) -> None:
    first = generate(engine, temperature=0, max_tokens=1).tokens[0]
    banned = generate(engine, temperature=0, logit_bias=(LogitBias(first, -math.inf),))
    assert first not in banned.tokens


def test_stop_strings_end_a_text_in_the_middle_of_a_token(engine: Engine) -> None:
    whole = generate(engine, temperature=0, max_tokens=60).text
    at = whole.index("named")
    stopped = generate(engine, temperature=0, max_tokens=60, stop=("med L", "never"))
    assert (stopped.stop, stopped.text) == ("stop", whole[: at + 2])
    pieces: list[str] = []
    engine.generate(ONCE, SamplingParams(temperature=0, stop=("med L",)), on_text=pieces.append)
    assert "".join(pieces) == stopped.text
    unmet = generate(engine, temperature=0, max_tokens=60, stop=(whole[-5:] + "~",))
    assert unmet.text == whole


def test_a_text_follows_its_grammar(engine: Engine) -> None:
    generation = generate(engine, grammar='root ::= "yes" | "no" ', max_tokens=50)
    assert (generation.text in ("yes", "no"), generation.stop) == (True, "eos")
    numbers = generate(engine, grammar='root ::= [0-9]+ ("," [0-9]+)*', max_tokens=10).text
    assert numbers
    assert set(numbers) <= set("0123456789,")


def test_a_text_follows_a_json_schema(engine: Engine) -> None:
    for seed in range(5):
        generation = generate(engine, json_schema=PERSON, max_tokens=200, seed=seed)
        if generation.stop == "eos":
            person = json.loads(generation.text)
            assert person["name"] in ("Tom", "Lily")
            assert isinstance(person["age"], int)
    endless = generate(engine, json_schema=ENDLESS_SCHEMA, max_tokens=20)
    assert set(endless.text) <= set("[], \n")


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        ({"grammar": "root ::= ("}, "cannot be read"),
        ({"grammar": " "}, "is empty"),
        ({"grammar": 'other ::= "a"'}, "cannot be read"),
        ({"grammar": "root ::= root"}, "cannot be read"),
        ({"grammar": "root ::= " + "(" * 100_000 + '"a"'}, "nests deeper"),
        ({"grammar": 'root ::= "a"{100000}'}, "cannot be read"),
        ({"grammar": "root ::= \0"}, "NUL"),
        ({"grammar": "root ::= " + '"a" ' * 500_000}, "too long"),
        ({"json_schema": "no"}, "no JSON"),
        ({"json_schema": "[]"}, "must be an object"),
        ({"json_schema": '{"type": "what"}'}, "cannot be followed"),
        ({"json_schema": '{"$ref": "https://localhost/x"}'}, "cannot be followed"),
        ({"json_schema": '{"$ref": "#/nowhere"}'}, "cannot be followed"),
        ({"json_schema": "[" * 100_000}, "no JSON"),
    ],
    ids=range(14),
)
def test_grammars_that_cannot_be_followed(
    engine: Engine, sampling: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        generate(engine, **sampling)
    assert generate(engine, temperature=0).text.startswith(", there was")


@pytest.mark.parametrize("grammar", ['root ::= "\u4f60\u597d"', "root ::= [\\x00]", 'root ::= ""'])
def test_a_grammar_that_allows_next_to_nothing(engine: Engine, grammar: str) -> None:
    """Whatever comes of it, the engine goes on."""
    with suppress(EngineError):
        generate(engine, grammar=grammar)
    assert generate(engine, temperature=0).text.startswith(", there was")


def test_a_grammar_that_forbids_what_it_needs(engine: Engine) -> None:
    bias = tuple(LogitBias(token, -math.inf) for token in range(512))
    with pytest.raises(EngineError, match="allows no token"):
        generate(engine, grammar='root ::= "a"', logit_bias=bias)


def test_log_probabilities_are_the_models_own(engine: Engine, tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    told: list[Any] = []
    params = SamplingParams(max_tokens=12, temperature=1.2, seed=3, logprobs=4, repeat_penalty=1.5)
    done = engine.generate(ONCE, params, on_text=unheard, on_logprobs=told.extend)
    assert tuple(told) == done.logprobs
    assert tuple(one.token for one in done.logprobs) == done.tokens
    assert b"".join(bytes(one.bytes) for one in done.logprobs).decode() == done.text
    tokens = [*engine.tokenize(ONCE), *done.tokens]
    engine.logits(tokens, tmp_path / "logits")
    logits = np.fromfile(tmp_path / "logits", "<f4").reshape(len(tokens), -1).astype("f8")
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    for place, one in enumerate(done.logprobs, len(tokens) - len(done.tokens) - 1):
        assert one.logprob == pytest.approx(logits[place, one.token], abs=1e-3)
        best = [top.token for top in one.top]
        assert len(best) == 4
        assert logits[place, best[0]] == pytest.approx(logits[place].max(), abs=1e-3)
        assert [top.logprob for top in one.top] == sorted(
            (top.logprob for top in one.top), reverse=True
        )
    plain = generate(engine, temperature=0, logprobs=0)
    assert all(one.top == () for one in plain.logprobs)


def test_a_text_that_may_not_end(engine: Engine) -> None:
    ends = generate(engine, temperature=0, max_tokens=500)
    assert ends.stop in ("eos", "length", "context")
    goes_on = generate(engine, temperature=0, max_tokens=500, ignore_eos=True)
    assert goes_on.stop != "eos"


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        ({"temperature": math.nan}, "temperature is nan"),
        ({"typical_p": 2.0}, "typical_p is 2.0"),
        ({"mirostat": 3}, "mirostat is 3"),
        ({"stop": ("",)}, "stop: a string"),
        ({"stop": ("a",) * 65}, "65 strings"),
        ({"logit_bias": (LogitBias(1, math.inf),)}, "logit_bias"),
        ({"grammar": "x", "json_schema": "{}"}, "at once"),
        ({"logprobs": -1}, "logprobs is -1"),
    ],
    ids=lambda case: next(iter(case)) if isinstance(case, dict) else "",
)
def test_settings_out_of_range(sampling: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        SamplingParams(**sampling)
