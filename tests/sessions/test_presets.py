"""Presets: the shipped ones, the user's, and files with nonsense in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localq.errors import BadFileError, LocalqError, NotFoundError, UsageError
from localq.paths import Paths
from localq.services.chat.presets import checked_preset, preset_named, sampling_given
from localq.sessions import OnFull, Preset
from localq.sessions.preset import SHIPPED
from localq.sessions.preset_files import PresetFiles, preset_text, read_preset

_texts = st.text(st.characters(codec="utf-8"), max_size=8)
_values = st.floats(0, 1) | st.integers(0, 9) | st.booleans() | st.lists(_texts, max_size=3)


@pytest.mark.parametrize("preset", SHIPPED.values(), ids=SHIPPED)
def test_the_engine_takes_what_is_shipped(preset: Preset) -> None:
    assert checked_preset(preset) is preset
    assert preset.about


@settings(max_examples=30)
@given(
    system=st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    about=_texts,
    sampling=st.dictionaries(_texts, _values, max_size=4),
    on_full=st.sampled_from(OnFull),
)
def test_what_is_kept_is_read_again(
    system: str, about: str, sampling: dict[str, object], on_full: OnFull
) -> None:
    preset = Preset("mine", system, sampling, on_full, about)
    assert read_preset("mine", Path("mine.toml"), preset_text(preset).encode()) == preset


def test_ones_own_go_before_shipped_ones(home: Paths) -> None:
    files = PresetFiles(home)
    assert files.names() == list(SHIPPED)
    assert not home.config.exists()
    files.put(Preset("code", "Mine."))
    files.put(Preset("zz-mine"))
    assert files.get("code").system == "Mine."
    assert files.is_own("code")
    assert files.names() == [*SHIPPED, "zz-mine"]
    assert files.remove("code")
    assert files.get("code") == SHIPPED["code"]
    assert not files.remove("zz-mine")
    with pytest.raises(NotFoundError, match="comes with localq"):
        files.remove("code")
    with pytest.raises(NotFoundError, match="no preset"):
        files.remove("zz-mine")
    with pytest.raises(NotFoundError) as caught:
        files.get("nobody")
    assert "precise" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 61, "a b", "dot."])
def test_names_that_are_none(home: Paths, name: str) -> None:
    with pytest.raises(UsageError, match="no name for a preset"):
        PresetFiles(home).get(name)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"\xff", "not valid UTF-8"),
        (b"system = ", "not valid TOML"),
        (b"system = 3", "system is not a text"),
        (b"temperature = 1", "there is no 'temperature'"),
        (b"sampling = 3", "sampling is not a table"),
        (b'on_full = "explode"', "no way to go on"),
        (b"[sampling]\ntemperature = 'hot'", "temperature is 'hot'; it must be a number"),
        (b"[sampling]\ntemperature = -3", "it must be at least 0"),
        (b"[sampling]\nwarmth = 1", "there is no setting 'warmth'"),
        (b"[sampling]\nseed = 'x'", "seed is 'x'; it must be a whole number"),
        (b"[sampling]\nstop = 'x'", "stop is 'x'; it must be a list"),
        (b"[sampling]\nignore_eos = 1", "ignore_eos is 1; it must be true or false"),
        (b"[sampling]\ntop_k = " + b"9" * 5000, "not valid TOML"),
        (b"a = " + b"[" * 20000, "nested too deeply"),
        (b"#" * (3 << 20), "too long"),
    ],
)
def test_a_preset_with_nonsense_is_one_clear_line(home: Paths, text: bytes, problem: str) -> None:
    files = PresetFiles(home)
    path = files.put(Preset("odd"))
    path.write_bytes(text)
    with pytest.raises((BadFileError, UsageError), match=problem) as caught:
        preset_named(home, "odd")
    assert "\n" not in caught.value.message
    assert "odd" in caught.value.message
    assert "SamplingParams" not in f"{caught.value.message} {caught.value.hint}"
    presets, problems = files.all()
    assert len(presets) >= len(SHIPPED)
    assert all(isinstance(error, LocalqError) for error in problems)


def test_what_is_given_goes_before_the_preset() -> None:
    preset = Preset("p", sampling={"temperature": 1, "stop": ["a"]})
    given = {"temperature": 0.5, "seed": 3, "top_k": None}
    assert sampling_given(preset, given) == {"temperature": 0.5, "stop": ("a",), "seed": 3}
