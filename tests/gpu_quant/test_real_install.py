"""The real gptqmodel: what CI installed loads; from a real index, killed and then let finish."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from localq.gpu_quant.backend_packages import PACKAGES
from localq.gpu_quant.environments import find, half_made, sweep
from localq.gpu_quant.examination import examine
from localq.paths import Paths

_INSTALL = (sys.executable, "-m", "localq", "backend", "install", "gptqmodel", "--yes")
_NOT_HERE = ("cannot be reached", "the package index has no")


def install(paths: Paths, *, kill_after: float | None = None) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, killed after so many seconds."""
    environment = {**os.environ, "LOCALQ_HOME": str(paths.data.parent)}
    with subprocess.Popen(
        [*_INSTALL, "--device", "cpu", "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        if kill_after is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(kill_after)
            process.kill()
        said, errors = process.communicate()
    return subprocess.CompletedProcess(_INSTALL, process.returncode, said, errors)


@pytest.mark.int4
def test_what_was_installed_has_the_pinned_packages_and_loads() -> None:
    python = os.environ.get("LOCALQ_BACKEND_PYTHON")
    if not python:
        pytest.skip("LOCALQ_BACKEND_PYTHON names no Python with gptqmodel")
    packages = PACKAGES["gptqmodel"]
    found = examine(Path(python), packages.imports, threading.Event())
    assert found.failures == {}
    assert found.torch is not None
    have = {
        (name.replace("_", "-"), version.partition("+")[0])
        for name, version in found.packages.items()
    }
    pinned = {(one.name, one.version) for one in packages.pinned if not one.only_for_cuda}
    lacking = {name for name, _ in pinned} - {name for name, _ in pinned & have}
    assert lacking <= {"colorama", "httpx2-jsfetch"}  # of other systems


@pytest.mark.skipif(sys.platform != "linux", reason="the pins were tried on Linux")
@pytest.mark.full
def test_gptqmodel_survives_kills(home: Paths) -> None:
    chance = random.Random()
    for _ in range(4):
        after = chance.uniform(1, 60)
        install(home, kill_after=after)
        assert find("gptqmodel", home) is None, f"killed after {after:.1f} s"
    done = install(home)
    if done.returncode and any(reason in done.stderr for reason in _NOT_HERE):
        pytest.skip(done.stderr.strip().splitlines()[-2])
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert result["version"] == "7.6.0"
    assert list(half_made(home)) == sweep(home) == []
    found = find("gptqmodel", home)
    assert found is not None
    assert Path(result["folder"]) == found.folder
    code = "import os, gptqmodel; os._exit(0)"
    subprocess.run([found.python, "-c", code], check=True, capture_output=True)
