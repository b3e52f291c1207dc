"""The language that was chosen in the app's settings is the command line's, too."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from localq.paths import Paths
from localq.settings import Settings, write_settings


def _said(home: Paths, *arguments: str, **variables: str) -> str:
    environ = {name: text for name, text in os.environ.items() if name != "LOCALQ_LANG"}
    environ |= {"LOCALQ_HOME": str(home.data.parent), "LC_ALL": "C.UTF-8", **variables}
    done = subprocess.run(
        [sys.executable, "-m", "localq", *arguments],
        env=environ,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(("arguments", "words"), [(["--help"], "下载"), (["show", "x"], "模型")])
def test_help_and_errors_are_in_the_language_that_was_chosen(
    home: Paths, arguments: list[str], words: str
) -> None:
    assert words not in _said(home, *arguments)
    write_settings(home, Settings(language="zh_CN"))
    assert words in _said(home, *arguments)
    assert words not in _said(home, *arguments, LOCALQ_LANG="en")
