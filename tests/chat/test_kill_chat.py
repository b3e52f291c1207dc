"""A chat that is killed in the middle of a reply."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from tests.kill_chat import kill_rounds


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is not there")
@pytest.mark.parametrize(
    "rounds", [pytest.param(1, id="once"), pytest.param(30, marks=pytest.mark.slow, id="often")]
)
def test_a_kill_loses_at_most_a_second(tmp_path: Path, rounds: int) -> None:
    kill_rounds(tmp_path, random.randrange(1 << 30), rounds)
