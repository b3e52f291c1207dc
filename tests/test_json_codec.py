"""What is written of a dataclass is read back as the same, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localq.cli import output
from localq.json_codec import fitting_fields, from_json, to_json


class Colour(Enum):
    RED = 1
    GREEN = 2


class Tool(StrEnum):
    LLAMA_CPP = "llama.cpp"


@dataclass(frozen=True)
class Point:
    x: int
    y: float = 0.5


@dataclass(frozen=True)
class Whole:
    text: str = ""
    size: int | None = None
    share: float | None = None
    yes: bool = False
    colour: Colour = Colour.RED
    tool: Tool | None = None
    path: Path | None = None
    mode: Literal["on", "off"] = "on"
    prompt: str | tuple[int, ...] = ()
    point: Point = field(default_factory=lambda: Point(1))
    points: tuple[Point, ...] = ()
    pair: tuple[int, str] = (1, "a")


NUMBERS = st.floats(allow_nan=False)
POINTS = st.builds(Point, st.integers(), NUMBERS)
WHOLES = st.builds(
    Whole,
    text=st.text(),
    size=st.none() | st.integers(),
    share=st.none() | NUMBERS,
    yes=st.booleans(),
    colour=st.sampled_from(Colour),
    tool=st.none() | st.sampled_from(Tool),
    path=st.none() | st.text("ab/.", min_size=1).map(Path),
    mode=st.sampled_from(["on", "off"]),
    prompt=st.text() | st.lists(st.integers()).map(tuple),
    point=POINTS,
    points=st.lists(POINTS).map(tuple),
    pair=st.tuples(st.integers(), st.text()),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(WHOLES, st.booleans())
def test_there_and_back(whole: Whole, defaults: bool) -> None:
    text = json.dumps(to_json(whole, defaults=defaults))
    assert from_json(Whole, json.loads(text)) == whole


def test_what_has_its_default_may_be_left_out() -> None:
    assert to_json(Whole(size=3), defaults=False) == {"size": 3, "point": {"x": 1}}


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([], "Whole must be an object"),
        ({"later": 1}, "unknown field 'later'"),
        ({"text": 3}, "text: 3 is not str"),
        ({"size": True}, "size: True is not int | None"),
        ({"yes": 1}, "yes: 1 is not bool"),
        ({"colour": "BLUE"}, "colour: 'BLUE' is not Colour"),
        ({"colour": 1}, "colour: 1 is not Colour"),
        ({"mode": "maybe"}, "mode: 'maybe' is not"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"point": {"x": "1"}}, "point: x: '1' is not int"),
        ({"point": {}}, "point: .*missing"),
        ({"points": [{"x": 1}, 2]}, "points: Point must be an object"),
        ({"pair": [1]}, "pair: 2 items are expected, not 1"),
    ],
)
def test_what_does_not_fit_is_named(document: object, problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        from_json(Whole, document)


@given(ANYTHING | st.dictionaries(st.sampled_from(list(Whole.__dataclass_fields__)), ANYTHING))
def test_half_of_a_document_is_better_than_nothing(document: Any) -> None:
    fitting = fitting_fields(Whole, document)
    assert to_json(Whole(**fitting)) == to_json(from_json(Whole, to_json(Whole(**fitting))))
    assert fitting.keys() <= (document.keys() if isinstance(document, dict) else set())


def test_other_things_have_no_json() -> None:
    with pytest.raises(TypeError, match="bytes has no JSON form"):
        to_json({"a": (b"",)})


def test_results_name_enums_as_users_do() -> None:
    document = output.to_json({Tool.LLAMA_CPP: [Tool.LLAMA_CPP, float("nan"), Path("x")]})
    assert document == {"llama.cpp": ["llama.cpp", None, "x"]}
