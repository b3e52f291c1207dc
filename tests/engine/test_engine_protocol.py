"""The lines between client and engine, the parameters they carry, and text out of bytes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localq.engine.memory_report import BufferMemory
from localq.engine.protocol import (
    Cancel,
    Detokenize,
    Done,
    Embed,
    Embedded,
    Failed,
    Generate,
    Generated,
    Load,
    LoadBeside,
    LoadedModel,
    Logits,
    Measure,
    Measured,
    MeasureMemory,
    ModelScores,
    Piece,
    ProtocolError,
    Rank,
    Ranked,
    Reply,
    Request,
    ResidentMemory,
    Score,
    Scores,
    Shutdown,
    Text,
    Tokenize,
    Tokens,
    Vectors,
    decode_reply,
    decode_request,
    encode,
)
from localq.engine.sampling import SamplingParams
from localq.engine.settings import KV_TYPES, LoadSettings
from localq.engine.utf8 import TextStream
from localq.errors import UsageError

REQUESTS: list[Request] = [
    Load(LoadSettings(Path("a b") / "é\udcff.gguf", n_ctx=5)),
    Load(LoadSettings(Path("a"), tensor_split=(1.0, 0.25), n_gpu_layers=-1, flash_attn="off")),
    Measure(5, 0, n_threads=3),
    MeasureMemory(),
    Generate("line\nline \u2028 \ud800 😀", SamplingParams(seed=3, temperature=1)),
    Generate((1, 2, 3), SamplingParams()),
    Embed(("a", (1, 2), ""), pooling="none", normalize=False, dimensions=3, truncate=True),
    Rank("?", ("a", "\ud800")),
    Tokenize("", add_special=False),
    Detokenize((1, 2)),
    Logits((1,), Path("out")),
    Cancel(7),
    LoadBeside(LoadSettings(Path("b"), n_ctx=64)),
    Score((1, 2, 3), 1, rounded=True),
    Shutdown(),
]
REPLIES: list[Reply] = [
    Piece("😀\n"),
    LoadedModel(1, 2, 3, 4, "llama", 0.5),
    LoadedModel(1, 2, 3, 4, "", 0.5, memory=(BufferMemory("CPU", 5), BufferMemory("CUDA0"))),
    Measured(0.5, (0.25, 1.0)),
    ResidentMemory(5, None),
    Generated(1, 2, 3, 0.25, 1.5, "eos"),
    Vectors(3, 1, "AACAPw=="),
    Embedded(2, "cls", (3, 4)),
    Ranked((0.5, -1.25), (3, 4)),
    Tokens((1, 2)),
    Tokens(()),
    Scores((ModelScores((0.5, 1.0)), ModelScores((0.5,), (0.0,), (1,)))),
    Text("a\u00e9"),
    Done(),
    Failed("no", hint=None, kind="storage"),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: type(r).__name__)
def test_requests_survive_the_pipe(request_: Request) -> None:
    line = encode(5, request_)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode_request(line) == (5, request_)


@pytest.mark.parametrize("reply", REPLIES, ids=lambda r: type(r).__name__)
def test_replies_survive_the_pipe(reply: Reply) -> None:
    assert decode_reply(encode(5, reply)) == (5, reply)
    assert decode_reply(encode(None, reply)) == (None, reply)


GENERATE = {"id": 1, "op": "generate", "prompt": "x", "sampling": {}}


@pytest.mark.parametrize(
    ("line", "problem", "id_"),
    [
        (b"\n", "not a JSON object", None),
        (b"hello\n", "not a JSON object: hello", None),
        (b"\xff\xfe\n", "not a JSON object", None),
        (b"[1]\n", "not a JSON object", None),
        (b"[" * 100_000, "not a JSON object", None),
        ({"op": "shutdown"}, "without an id", None),
        ({"op": "shutdown", "id": "one"}, "whole number", None),
        ({"op": "shutdown", "id": True}, "whole number", None),
        ({"id": 4}, "unknown op None", 4),
        ({"id": 4, "op": "explode"}, "unknown op 'explode'", 4),
        ({"id": 4, "op": ["load"]}, "unknown op", 4),
        ({"id": 4, "op": "load"}, "settings", 4),
        ({"id": 4, "op": "load", "settings": 5}, "settings: LoadSettings must be an object", 4),
        ({"id": 4, "op": "load", "settings": {"path": 5}}, "path", 4),
        ({"id": 4, "op": "load", "settings": {"path": "a", "n_ctx": 0}}, "n_ctx is 0", 4),
        ({"id": 4, "op": "load", "settings": {"path": "a", "tensor_split": [1, "x"]}}, "split", 4),
        ({"id": 4, "op": "load", "settings": {"path": "a", "flash_attn": "if"}}, "flash_attn", 4),
        ({"id": 4, "op": "measure", "n_prompt": -1, "n_generate": 0}, "n_prompt is -1", 4),
        ({"id": 4, "op": "shutdown", "now": True}, "unknown field 'now'", 4),
        ({"id": 4, "op": "cancel", "target": 1.5}, "target", 4),
        ({"id": 4, "op": "embed", "inputs": []}, "0 texts in one request", 4),
        ({"id": 4, "op": "embed", "inputs": ["a"] * 2049}, "2,049 texts in one request", 4),
        ({"id": 4, "op": "embed", "inputs": ["a", 3]}, "inputs", 4),
        ({"id": 4, "op": "embed", "inputs": ["a"], "pooling": "rank"}, "pooling", 4),
        ({"id": 4, "op": "embed", "inputs": ["a"], "dimensions": 0}, "dimensions is 0", 4),
        ({"id": 4, "op": "rank", "query": "a", "documents": []}, "0 texts in one request", 4),
        ({**GENERATE, "prompt": [1, "2"]}, "prompt", 1),
        ({**GENERATE, "prompt": None}, "prompt", 1),
        ({**GENERATE, "sampling": {"temperature": "hot"}}, "temperature", 1),
        ({**GENERATE, "sampling": {"temperature": math.nan}}, "temperature is nan", 1),
        ({**GENERATE, "sampling": {"max_tokens": True}}, "max_tokens", 1),
    ],
)
def test_bad_lines_are_refused(line: bytes | dict[str, Any], problem: str, id_: int | None) -> None:
    data = line if isinstance(line, bytes) else json.dumps(line).encode()
    with pytest.raises(ProtocolError, match=problem) as caught:
        decode_request(data)
    assert caught.value.id == id_
    assert len(str(caught.value)) < 200


def test_bad_replies_are_refused() -> None:
    with pytest.raises(ProtocolError, match="stop"):
        decode_reply(encode(1, Generated(1, 2, 3, 0.25, 1.5, "eos")).replace(b'"eos"', b'"bored"'))
    with pytest.raises(ProtocolError, match="unknown reply"):
        decode_reply(encode(1, Shutdown()))


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"n_ctx": (1 << 24) + 1}, "n_ctx is 16777217; it must be at most 16,777,216"),
        ({"n_threads": 0}, "n_threads is 0; it must be at least 1"),
        ({"n_threads_batch": 513}, "at most 512"),
        ({"n_gpu_layers": -2}, "n_gpu_layers is -2"),
        ({"n_cpu_moe": -1}, "n_cpu_moe is -1"),
        ({"n_ubatch": 0}, "n_ubatch is 0"),
        ({"n_seq_max": 257}, "n_seq_max is 257"),
        ({"type_k": "q6_k"}, "type_k is 'q6_k'"),
        ({"type_v": "F16"}, "type_v is 'F16'"),
        ({"type_v": "q8_0", "flash_attn": "off"}, "need flash attention"),
        ({"tensor_split": ()}, "a split over 0 devices"),
        ({"tensor_split": (1.0,) * 17}, "a split over 17 devices"),
        ({"tensor_split": (0.0, 0.0)}, "shares are 0 or more"),
        ({"tensor_split": (1.0, -1.0)}, "shares are 0 or more"),
        ({"tensor_split": (math.nan,)}, "shares are 0 or more"),
    ],
)
def test_load_settings_are_checked(wrong: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        LoadSettings(Path("model.gguf"), **wrong)


def test_every_type_of_cache_can_be_asked_for() -> None:
    assert " ".join(KV_TYPES) == "f32 f16 bf16 q8_0 q5_1 q5_0 q4_1 q4_0 iq4_nl"
    for name in KV_TYPES:
        LoadSettings(Path("model.gguf"), type_k=name, type_v=name)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": -1},
        {"temperature": -0.1},
        {"temperature": math.inf},
        {"top_k": -1},
        {"top_p": 1.1},
        {"min_p": -1},
        {"repeat_penalty": 0},
        {"seed": -1},
        {"seed": 2**32 - 1},
    ],
)
def test_sampling_parameters_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        SamplingParams(**wrong)


@given(st.text(), st.data())
def test_characters_come_whole(text: str, data: st.DataObject) -> None:
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    stream = TextStream()
    pieces = [stream.feed(raw[a:b]) for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert "".join(pieces) == text
    for piece in pieces:
        assert "\ufffd" not in piece or "\ufffd" in text


def test_a_character_of_several_tokens() -> None:
    stream = TextStream()
    assert [stream.feed(bytes([b])) for b in "你😀!".encode()] == [
        *("", "", "你"),
        *("", "", "", "😀"),
        "!",
    ]


def test_bytes_that_are_no_character() -> None:
    stream = TextStream()
    assert stream.feed(b"a\xff") == "a\ufffd"
    assert stream.feed(b"\xe4\xbd") == ""
    assert stream.feed(b"b") == "\ufffdb"
    assert stream.feed("é".encode()[:1]) == ""
