"""Aliases, tags and notes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localq.errors import LibraryError, NotFoundError, UsageError
from localq.library import Library
from localq.paths import Paths
from tests.library.test_library_model import stored


def test_an_alias_is_a_name(home: Paths) -> None:
    library = Library()
    checkpoint = stored(library, "org/model", used=3)
    gguf = stored(library, "org/model:Q4_0")
    library.labels.add_alias("org/model", "Base")
    library.labels.add_alias("org/model:q4_0", "chat")
    assert library.find("base").name == checkpoint.name
    assert library.find("CHAT").name == gguf.name
    assert library.find_gguf("chat").name == gguf.name
    assert library.find_gguf("base:q4_0").name == gguf.name
    assert library.find_gguf("base").name == gguf.name
    assert library.find_checkpoint("chat").name == checkpoint.name
    with pytest.raises(NotFoundError, match="no Q8_0 was made"):
        library.find_gguf("base:q8_0")
    with pytest.raises(NotFoundError) as caught:
        library.find("chatt")
    assert "org/model:Q4_0" in str(caught.value.hint)


def test_an_alias_means_one_model(home: Paths) -> None:
    library = Library()
    stored(library, "org/a:Q4_0")
    stored(library, "org/b:Q4_0")
    stored(library, "gpt2")
    library.labels.add_alias("org/a:Q4_0", "mine")
    with pytest.raises(LibraryError, match="'Mine' means org/a:Q4_0 already"):
        library.labels.add_alias("org/b:Q4_0", "Mine")
    with pytest.raises(LibraryError, match="means gpt2 already"):
        library.labels.add_alias("org/b:Q4_0", "GPT2")
    assert library.labels.add_alias("org/a:Q4_0", "mine").aliases == ("mine",)
    with pytest.raises(NotFoundError, match="is not called"):
        library.labels.remove_alias("org/b:Q4_0", "mine")
    assert library.labels.remove_alias("org/a:Q4_0", "MINE").aliases == ()
    assert library.labels.add_alias("org/b:Q4_0", "mine").aliases == ("mine",)
    # A whole name is a name before it is an alias.
    stored(library, "mine")
    assert library.find("mine").name == "mine"


@pytest.mark.parametrize(
    "name",
    ["", "a/b", "a:b", "..", "x\x1b[2J", "nul", "a b ", "-x", "~x", "x.gguf", "demo", "x" * 256],
)
def test_what_cannot_be_an_alias(home: Paths, name: str) -> None:
    library = Library()
    stored(library, "org/a:Q4_0")
    with pytest.raises(UsageError):
        library.labels.add_alias("org/a:Q4_0", name)


def test_tags(home: Paths) -> None:
    labels = Library().labels
    stored(Library(), "org/a:Q4_0")
    assert labels.change_tags("org/a:Q4_0", ["Work", "b", "b"], []).tags == ("b", "work")
    assert labels.change_tags("org/a:Q4_0", ["c"], ["B", "nothing"]).tags == ("c", "work")
    for tag in ("", "a b", "\x1b", "a,b", "x" * 51, "-"):
        with pytest.raises(UsageError, match="cannot be a tag"):
            labels.change_tags("org/a:Q4_0", [tag], [])
    with pytest.raises(LibraryError, match="no more than 50 tags"):
        labels.change_tags("org/a:Q4_0", [f"t{number}" for number in range(60)], [])
    with pytest.raises(NotFoundError):
        labels.change_tags("org/b", ["x"], [])


def test_a_note(home: Paths) -> None:
    labels = Library().labels
    stored(Library(), "org/a:Q4_0")
    assert labels.set_note("org/a:Q4_0", "two\nlines").note == "two\nlines"
    assert labels.set_note("org/a:Q4_0", "").note == ""
    for text in ("x" * 10_001, "\ud800"):
        with pytest.raises(UsageError):
            labels.set_note("org/a:Q4_0", text)


def test_what_was_said_outlives_the_files(home: Paths) -> None:
    library = Library()
    model = stored(library, "org/a:Q4_0")
    library.labels.add_alias(model.name, "mine")
    library.labels.change_tags(model.name, ["x"], [])
    library.labels.set_note(model.name, "y")
    library.add(model, [model.path], {model.path: "0" * 64})
    again = library.add(replace(model, quant="Q4_0", used_at=9.0), [model.path])
    assert (again.aliases, again.tags, again.note) == (("mine",), ("x",), "y")
    # But not what was known of the files: they may be others.
    assert library.hashes.of_model(model.name) == {}
