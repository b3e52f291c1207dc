"""Which model a name means."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localq.errors import LibraryError, LocalqError, NotFoundError
from localq.library import Library, Model, ModelSource
from localq.library.names import find, find_checkpoint, find_gguf, looks_like_path, newest
from localq.paths import Paths
from tests.library.test_library_model import entry

SMOL = "HuggingFaceTB/SmolLM2-135M-Instruct"
MODELS = [
    entry("demo/stories260K", used=1),
    entry("demo/stories260K:Q8_0", used=2),
    entry(SMOL, used=10),
    entry(f"{SMOL}:Q4_0", used=30),
    entry(f"{SMOL}:Q8_0", used=20),
    entry("Qwen/Qwen3-0.6B:Q4_K_M", used=5),
    entry("unsloth/Gemma-3:F16", used=6),
    entry("unsloth/Gemma-3:Q4_0", used=7),
    entry("one/twin", used=8),
    entry("two/twin", used=9),
    entry("one/twin:Q4_0", used=3),
    entry("two/twin:Q4_0", used=4),
    entry("gpt2", used=0),
]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        (SMOL, SMOL),
        (SMOL.upper(), SMOL),
        (f"{SMOL}:Q4_0", f"{SMOL}:Q4_0"),
        (f"{SMOL}:q8_0", f"{SMOL}:Q8_0"),
        ("SmolLM2-135M-Instruct", SMOL),
        ("smollm2-135m-instruct", SMOL),
        ("smollm2-135m-instruct:q4_0", f"{SMOL}:Q4_0"),
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B:Q4_K_M"),
        ("qwen3-0.6b", "Qwen/Qwen3-0.6B:Q4_K_M"),
        ("gemma-3:f16", "unsloth/Gemma-3:F16"),
        ("one/twin", "one/twin"),
        ("two/twin:q4_0", "two/twin:Q4_0"),
        ("demo", "demo/stories260K"),
        ("Demo", "demo/stories260K"),
        ("demo:q8_0", "demo/stories260K:Q8_0"),
        ("stories260k", "demo/stories260K"),
        ("GPT2", "gpt2"),
    ],
)
def test_find(name: str, meant: str) -> None:
    assert find(MODELS, name).name == meant


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        (None, f"{SMOL}:Q4_0"),
        (SMOL, f"{SMOL}:Q4_0"),
        ("smollm2-135m-instruct", f"{SMOL}:Q4_0"),
        ("smollm2-135m-instruct:q8_0", f"{SMOL}:Q8_0"),
        ("gemma-3", "unsloth/Gemma-3:Q4_0"),
        ("one/TWIN", "one/twin:Q4_0"),
        ("demo", "demo/stories260K:Q8_0"),
    ],
)
def test_find_gguf(name: str | None, meant: str) -> None:
    assert find_gguf(MODELS, name).name == meant


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        (None, SMOL),
        (SMOL, SMOL),
        ("smollm2-135m-instruct", SMOL),
        ("smollm2-135m-instruct:q8_0", SMOL),
        ("demo", "demo/stories260K"),
        ("demo:q8_0", "demo/stories260K"),
        ("one/twin:q4_0", "one/twin"),
    ],
)
def test_find_checkpoint(name: str | None, meant: str) -> None:
    assert find_checkpoint(MODELS, name).name == meant


def test_an_ambiguous_name_lists_what_it_may_mean() -> None:
    with pytest.raises(LibraryError) as caught:
        find(MODELS, "Gemma-3")
    assert "unsloth/Gemma-3:F16, unsloth/Gemma-3:Q4_0" in caught.value.message
    assert caught.value.hint == "say which, as unsloth/Gemma-3:F16"
    for search in (find, find_gguf, find_checkpoint):
        with pytest.raises(LibraryError, match=r"'twin' could be any of one/twin.*, two/twin"):
            search(MODELS, "twin")
    with pytest.raises(LibraryError, match="one/twin, two/twin"):
        find_gguf(MODELS, "twin:q8_0")


def test_an_ambiguous_gguf_of_checkpoints_elsewhere() -> None:
    models = [entry("one/twin:Q4_0"), entry("two/twin:Q4_0")]
    with pytest.raises(LibraryError, match="one/twin:Q4_0, two/twin:Q4_0"):
        find_checkpoint(models, "twin")


def test_many_meanings_are_cut_short() -> None:
    models = [entry(f"org{number}/twin") for number in range(9)]
    with pytest.raises(LibraryError, match=r"org5/twin, \.\.\.$"):
        find(models, "twin")


@pytest.mark.parametrize("search", [find, find_gguf, find_checkpoint])
def test_an_unknown_name_is_answered_with_the_closest(search: object) -> None:
    assert callable(search)
    with pytest.raises(NotFoundError) as caught:
        search(MODELS, "SmolLM-135M-Instruct")
    assert caught.value.message == "no model named 'SmolLM-135M-Instruct' in the library"
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(f"did you mean {SMOL}")
    with pytest.raises(NotFoundError) as caught:
        search(MODELS, "zzzzzzzzzzzz")
    assert caught.value.hint is not None
    assert "localq list" in caught.value.hint
    assert "localq pull" in caught.value.hint


def test_an_empty_library_is_told_to_pull() -> None:
    for search in (find_gguf, find_checkpoint):
        with pytest.raises(NotFoundError) as caught:
            search([], None)
        assert caught.value.hint == "localq pull"
    for name, hint in {"x": "localq pull", "demo": "localq pull demo"}.items():
        with pytest.raises(NotFoundError) as caught:
            find([], name)
        assert caught.value.hint == hint


def test_a_checkpoint_without_gguf_is_told_to_quantize() -> None:
    models = [entry(SMOL), entry("demo/stories260K:F32", used=0)]
    asked = {SMOL: "q4_0", "smollm2-135m-instruct": "q4_0", "SmolLM2-135M-Instruct:Q8_0": "q8_0"}
    for name, quant in asked.items():
        with pytest.raises(NotFoundError) as caught:
            find_gguf(models, name)
        assert caught.value.hint == f"localq quantize {quant} {SMOL}"
    with pytest.raises(NotFoundError) as caught:
        find_gguf(models[:1], None)
    assert caught.value.hint == f"localq quantize q4_0 {SMOL}"


def test_no_quantization_of_an_unknown_type_is_suggested() -> None:
    with pytest.raises(NotFoundError) as caught:
        find_gguf([entry(SMOL)], f"{SMOL}:q9_9")
    assert caught.value.hint == f"did you mean {SMOL}?"


def test_the_checkpoint_of_a_gguf_may_have_another_name() -> None:
    made = entry("me/mine:Q4_0", used=9, repo=SMOL)
    assert find_checkpoint([entry(SMOL), made], None).name == SMOL
    with pytest.raises(NotFoundError) as caught:
        find_checkpoint([made], None)
    assert caught.value.message == "the checkpoint me/mine:Q4_0 was made from is not in the library"
    assert caught.value.hint == f"localq pull {SMOL}"


def test_newest_takes_use_over_creation() -> None:
    assert newest([]) is None
    assert newest(MODELS) == find(MODELS, f"{SMOL}:Q4_0")


@pytest.mark.parametrize(
    "text",
    ["/etc/passwd", "./model.gguf", "../x", "~/models", "C:\\x", "C:/x", "a/b/c", "x.gguf", "org/"],
)
def test_paths_are_told_from_names(text: str) -> None:
    assert looks_like_path(text)
    assert not any(looks_like_path(model.name) for model in MODELS)


NAMES = ["a", "b", "a-b", "ab", "demo", "stories260k", "Gemma", "gemma-3", "q4_0"]
QUANTS = ["", ":Q4_0", ":Q8_0", ":f16"]
written = st.builds(
    lambda org, name, quant: f"{org}{name}{quant}",
    st.sampled_from(["", "a/", "b/", "demo/", "ab/"]),
    st.sampled_from([*NAMES, ""]),
    st.sampled_from([*QUANTS, ":"]),
)
in_library = st.builds(
    lambda org, name, quant: f"{org}{name}{quant}",
    st.sampled_from(["", "a/", "b/", "demo/", "ab/"]),
    st.sampled_from(NAMES),
    st.sampled_from(QUANTS),
)


@settings(max_examples=100, deadline=None)
@given(
    names=st.lists(in_library, min_size=1, max_size=8, unique_by=str.casefold),
    aliases=st.dictionaries(st.sampled_from([*NAMES, "x", "a:b"]), st.integers(0, 7), max_size=3),
    repos=st.lists(st.sampled_from([None, "a/ab", "b/b"]), min_size=8, max_size=8),
    name=written,
)
def test_a_look_up_that_reads_a_few_finds_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[str],
    aliases: dict[str, int],
    repos: list[str | None],
    name: str,
) -> None:
    folder = tmp_path_factory.mktemp("home")
    library = Library(Paths.from_environment({"LOCALQ_HOME": str(folder)}))
    with library._catalogue.write() as transaction:
        for number, full in enumerate(names):
            model = replace(entry(full, used=number % 3), source=ModelSource(repos[number], None))
            transaction.put(model, PurePosixPath(f"{number}"), {})
    for alias, number in aliases.items():
        with suppress(LocalqError):
            library.labels.add_alias(names[number % len(names)], alias)
    models = library.models()
    assert library.last_used() == newest(models)
    for quick, slow in (
        (library.find, find),
        (library.find_gguf, find_gguf),
        (library.find_checkpoint, find_checkpoint),
    ):
        assert said_by(lambda quick=quick: quick(name)) == said_by(  # type: ignore[misc]
            lambda slow=slow: slow(models, name)  # type: ignore[misc]
        )


def said_by(look_up: Callable[[], Model]) -> object:
    try:
        return look_up()
    except LocalqError as error:
        return type(error), error.message, error.hint


def test_of_many_models_a_look_up_reads_a_few(home: Paths) -> None:
    library = Library(home)
    with library._catalogue.write() as transaction:
        for number in range(2000):
            repo = f"org{number % 37}/model-{number}-Instruct"
            model = replace(entry(f"{repo}:Q4_0"), source=ModelSource(repo, None))
            transaction.put(model, PurePosixPath(f"{number}"), {})
    with library._catalogue.read() as transaction_:
        assert transaction_ is not None
        for name in (
            "org10/model-1194-Instruct:Q4_0",
            "model-1194-instruct",
            "MODEL-1194-Instruct:q4_0",
        ):
            assert [m.name for m in transaction_.candidates(name)] == [
                "org10/model-1194-Instruct:Q4_0"
            ]
