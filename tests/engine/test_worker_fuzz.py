"""Lines of every kind to the engine's process: each gets its answer, and the process stays."""

from __future__ import annotations

import json
import select
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.test_engine import DEMO, make_gguf
from tests.engine.test_engine_process import RawWorker, raw_worker

FINAL_REPLIES = {
    *("loaded", "generated", "embedded", "ranked", "measured", "tokens", "resident", "done"),
    "failed",
}


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RawWorker]:
    folder = tmp_path_factory.mktemp("fuzz")
    gguf = make_gguf(DEMO, folder)
    with raw_worker(folder / "log") as worker:
        settings = {"path": str(gguf), "n_ctx": 128, "n_threads": 1, "n_seq_max": 3}
        worker.send({"id": 1, "op": "load", "settings": settings})
        assert worker.receive()["reply"] == "loaded"
        yield worker


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-5, 600),
        st.integers(),
        st.floats(),
        st.text(max_size=30),
        st.sampled_from(["Once upon", "\0", "\ud800", 'root ::= "a"', "root ::= [z", "{}"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
SAMPLING = st.fixed_dictionaries(
    {"max_tokens": st.one_of(st.integers(0, 6), VALUES)},
    optional={
        "temperature": st.one_of(st.floats(0, 5), VALUES),
        "top_k": st.one_of(st.integers(0, 50), VALUES),
        "top_p": st.one_of(st.floats(0, 1), VALUES),
        "typical_p": st.one_of(st.floats(0, 1), VALUES),
        "top_n_sigma": st.one_of(st.floats(-1, 3), VALUES),
        "xtc_probability": st.one_of(st.floats(0, 1), VALUES),
        "dry_multiplier": st.one_of(st.floats(0, 2), VALUES),
        "mirostat": st.one_of(st.integers(0, 2), VALUES),
        "stop": st.one_of(st.lists(st.text("abc ", max_size=3), max_size=3), VALUES),
        "logprobs": st.one_of(st.integers(0, 600), VALUES),
        "grammar": st.one_of(
            st.sampled_from(['root ::= "a"*', 'root ::= "x" root | "y"', "root ::= root"]), VALUES
        ),
        "json_schema": st.one_of(
            st.sampled_from(['{"type": "integer"}', '{"$ref": "#"}', '{"type": []}', "[]"]), VALUES
        ),
        "logit_bias": st.lists(
            st.fixed_dictionaries({"token": st.integers(-1, 600), "bias": st.floats()}), max_size=3
        ),
        "seed": st.one_of(st.integers(0, 9), VALUES),
    },
)
INPUT = st.one_of(st.text(max_size=60), st.lists(st.integers(-1, 520), max_size=140))
REQUESTS = st.one_of(
    st.fixed_dictionaries(
        {
            "op": st.just("generate"),
            "prompt": st.one_of(
                st.text(max_size=60), st.lists(st.integers(-1, 520), max_size=140), VALUES
            ),
            "sampling": st.one_of(SAMPLING, SAMPLING, VALUES),
        }
    ),
    st.fixed_dictionaries(
        {"op": st.just("tokenize"), "text": VALUES}, optional={"add_special": VALUES}
    ),
    st.fixed_dictionaries(
        {"op": st.just("embed"), "inputs": st.one_of(st.lists(INPUT, max_size=5), VALUES)},
        optional={
            "pooling": st.one_of(st.sampled_from(["mean", "cls", "last", "none", "rank"]), VALUES),
            "normalize": st.one_of(st.booleans(), VALUES),
            "dimensions": st.one_of(st.integers(-1, 80), VALUES),
            "truncate": st.one_of(st.booleans(), VALUES),
        },
    ),
    st.fixed_dictionaries(
        {"op": st.just("rank"), "query": st.text(max_size=9), "documents": VALUES},
        optional={"truncate": VALUES},
    ),
    st.fixed_dictionaries({"op": st.just("cancel"), "target": st.integers(2, 40)}),
    st.fixed_dictionaries({"op": st.sampled_from(["measure_memory", "observe", "load", "x"])}),
    st.fixed_dictionaries(
        {"op": st.just("measure"), "n_prompt": st.integers(-1, 9), "n_generate": VALUES}
    ),
    st.fixed_dictionaries({"op": VALUES}, optional={"reply": VALUES}),
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(REQUESTS, min_size=1, max_size=12))
def test_every_request_gets_one_final_reply(
    worker: RawWorker, requests: list[dict[str, Any]]
) -> None:
    waiting = set()
    for number, request in enumerate(requests):
        waiting.add(number + 2)
        worker.send(json.dumps({"id": number + 2, **request}).encode())
    while waiting:
        reply = worker.receive()
        assert reply["id"] in waiting
        if reply["reply"] in FINAL_REPLIES:
            waiting.remove(reply["id"])
            assert "defect" not in reply.get("message", "")
        else:
            assert reply["reply"] in ("piece", "vectors")
    worker.send({"id": 1, "op": "tokenize", "text": "Once upon a time"})
    assert len(worker.receive()["tokens"]) == 5


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=200).filter(lambda data: b"\n" not in data))
def test_lines_of_nonsense_are_told(worker: RawWorker, data: bytes) -> None:
    worker.send(data)
    reply = worker.receive()
    assert (reply["reply"], reply.get("kind")) == ("failed", "protocol")
    assert worker.process.stdout
    assert not select.select([worker.process.stdout], [], [], 0)[0]
