"""Calls of services, and the pure parts of the app."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.message import Message
from textual.message_pump import MessagePump

from localq.errors import LocalqError, StorageError
from localq.events import Note, Progress
from localq.formats.types import QuantType
from localq.tui.calls import CallNews, Calls, CallSpoke, Say, ServiceCall, Written
from localq.tui.failure import presentable
from localq.tui.listing import last_used, listed, made_of, matching, origin
from localq.tui.text import elide
from tests.tui_support import checkpoint, gguf


class Listener(MessagePump):
    """Counts what is posted to it."""

    def __init__(self) -> None:
        super().__init__()
        self.posted: list[Message] = []

    def post_message(self, message: Message) -> bool:
        self.posted.append(message)
        return True


class TestCall:
    def run(
        self, work: Callable[[Say, threading.Event], int], tmp_path: Path
    ) -> tuple[list[object], list[LocalqError], list[CallNews], Listener]:
        done: list[object] = []
        failed: list[LocalqError] = []
        heard: list[CallNews] = []
        listener = Listener()
        job = ServiceCall(
            listener, work, done=done.append, failed=failed.append, heard=heard.append
        )
        job.run(tmp_path / "tui.log")
        job.deliver()
        return done, failed, heard, listener

    def test_one_message_for_all_that_was_said(self, tmp_path: Path) -> None:
        def work(say: Say, cancel: threading.Event) -> int:
            say(Progress("reading", 1, 9))
            say(Progress("reading", 5, 9))
            say(Progress("writing", 0, 9))
            say(Progress("writing", 3, 9))
            say(Note("odd"))
            say(Written("a"))
            say(Written("b"))
            return 7

        done, failed, heard, listener = self.run(work, tmp_path)
        assert done == [7]
        assert failed == []
        assert heard == [
            Progress("reading", 5, 9),
            Progress("writing", 3, 9),
            Note("odd"),
            Written("ab", 2),
        ]
        assert [type(message) for message in listener.posted] == [CallSpoke]

    def test_errors_on_purpose_pass_unchanged(self, tmp_path: Path) -> None:
        error = StorageError("full")

        def work(say: Say, cancel: threading.Event) -> int:
            raise error

        done, failed, _, _ = self.run(work, tmp_path)
        assert done == []
        assert failed == [error]
        assert not (tmp_path / "tui.log").exists()

    def test_jobs_are_asked_to_stop(self, tmp_path: Path) -> None:
        jobs = Calls(tmp_path / "tui.log")
        stopped = threading.Event()

        def work(say: Say, cancel: threading.Event) -> None:
            assert cancel.wait(60)
            stopped.set()

        jobs.start(Listener(), work, done=lambda _: None, failed=lambda _: None)
        jobs.stop(20)
        assert stopped.is_set()

    def test_stopping_does_not_wait_for_ever(self, tmp_path: Path) -> None:
        jobs = Calls(tmp_path / "tui.log")
        release = threading.Event()

        def work() -> None:
            release.wait(60)

        jobs.start_quietly(work)
        jobs.stop(0.01)
        release.set()
        jobs.stop(20)

    def test_quiet_jobs_log_their_failure(self, tmp_path: Path) -> None:
        jobs = Calls(tmp_path / "tui.log")

        def work() -> None:
            raise ValueError("unheard")

        jobs.start_quietly(work)
        jobs.stop(20)
        assert "unheard" in (tmp_path / "tui.log").read_text(encoding="utf-8")


class TestFailure:
    def test_unexpected_errors_name_their_log(self, tmp_path: Path) -> None:
        log = tmp_path / "a" / "tui.log"
        shown = presentable(ValueError("bad"), log)
        assert "ValueError: bad" in shown.message
        assert shown.hint == f"the details are in {log} (localq logs)"
        assert "ValueError: bad" in log.read_text(encoding="utf-8")

    def test_even_without_a_log(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("", encoding="utf-8")
        shown = presentable(ValueError(), tmp_path / "file" / "tui.log")
        assert shown.message.endswith("ValueError")
        assert shown.hint is not None
        assert "could not be written" in shown.hint


class TestText:
    @pytest.mark.parametrize("width", range(8))
    def test_elide_counts_cells(self, width: int) -> None:
        assert cell_len(elide("中文中文中文", width)) <= width

    def test_elide(self) -> None:
        assert elide("abcdef", 6) == "abcdef"
        assert elide("abcdef", 4) == "abc…"


class TestListing:
    def test_matching(self) -> None:
        models = [gguf(), checkpoint()]
        assert matching(models, "") == models
        assert matching(models, "SMOL forcausal") == [checkpoint()]
        assert matching(models, "q4_0") == [gguf()]

    def test_families(self) -> None:
        other = gguf("other/model")
        models = [other, gguf(), checkpoint(), gguf(quant=QuantType.Q8_0)]
        assert made_of(models, checkpoint()) == [gguf(), gguf(quant=QuantType.Q8_0)]
        assert origin(models, gguf()) == checkpoint()
        assert origin(models, other) == other
        assert last_used(models) == other
        assert last_used([]) is None

    def test_what_was_made_stands_below_its_checkpoint(self) -> None:
        other = gguf("a/alone")
        models = [gguf(), checkpoint(), gguf(quant=QuantType.Q8_0), other]
        rows = listed(models, "name", grouped=True)
        assert [(row.model, row.below, row.last) for row in rows] == [
            (other, False, False),
            (checkpoint(), False, False),
            (gguf(), True, False),
            (gguf(quant=QuantType.Q8_0), True, True),
        ]
        assert [row.model for row in listed(models, "used", grouped=False)][-1] == checkpoint()
