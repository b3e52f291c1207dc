"""What to do next, in the words of the app."""

from __future__ import annotations

import pytest

from localq.messages import msg, translate
from localq.tui.hints import in_the_app


@pytest.mark.parametrize(
    ("hint", "shown"),
    [
        (
            "localq list shows the models here, localq pull gets others",
            "1 (Library) shows the models here, 2 (Hub) gets others",
        ),
        (
            "localq pull a/b, then: localq quantize q4_0 a/b --force",
            "2 (Hub), then: 1 q (Quantize)",
        ),
        ("localq jobs resume 3 goes on with it", "3 (Jobs) goes on with it"),
        ("`localq tune` and localq fit MODEL --ctx 2048", "4 t (Tune) and 2 (Hub)"),
        ("keeps it; if it is gone: localq rm", "keeps it; if it is gone: 1 d (Remove)"),
        # What the app has no key for stays a command.
        ("free some space (localq trash empty)", "free some space (localq trash empty)"),
        ("git lfs pull in its folder", "git lfs pull in its folder"),
        (
            "先下载：localq pull a/b，然后：localq quantize q4_0 a/b",
            "先下载：2 (Hub)，然后：1 q (Quantize)",
        ),
    ],
)
def test_a_verb_becomes_a_key(hint: str, shown: str) -> None:
    assert in_the_app(hint) == shown


def test_keys_are_named_in_the_users_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALQ_LANG", "zh_CN")
    hint = translate(msg("localq list shows the models here, localq pull gets others"))
    assert "localq" not in in_the_app(hint)


def test_the_keys_that_hints_name_are_keys() -> None:
    """A key that moved must not be promised."""
    from localq.tui import hints
    from localq.tui.screens.base import SCREENS
    from localq.tui.screens.library import LibraryScreen
    from localq.tui.screens.machine import MachineScreen

    screens = {key for key, _, _ in SCREENS}
    keys = {"1": LibraryScreen, "4": MachineScreen}
    for pressed, _ in hints._KEYS.values():
        screen, _, key = pressed.partition(" ")
        assert screen in screens
        if key and key != "↵":
            bound = {
                part
                for cls in keys[screen].__mro__
                for binding in getattr(cls, "BINDINGS", ())
                for part in getattr(binding, "key", "").split(",")
            }
            assert key in bound, pressed
