"""The encoders on other processors, as far as one can be emulated, and in the wheels."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from localq.quantize.codecs import build

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
REPORT = (
    "import json, dataclasses\n"
    "from localq.quantize.codecs.fast import load_fast_codecs\n"
    "print(json.dumps(dataclasses.asdict(load_fast_codecs().report())))"
)


def report(command: list[str], path: Path = ROOT) -> dict[str, object]:
    """What a process that runs `command` and finds localq in `path` says of its encoders."""
    environment = {**os.environ, "PYTHONPATH": str(path)}
    result = subprocess.run(
        [*command, "-c", REPORT], env=environment, cwd=path, capture_output=True, check=True
    )
    answer: dict[str, object] = json.loads(result.stdout.splitlines()[-1])
    return answer


@pytest.fixture
def compiled_here() -> None:
    if not build.up_to_date(build.SOURCES / build.FILE_NAME):
        pytest.skip("the encoders are not compiled in this folder (make codecs)")


@pytest.mark.usefixtures("compiled_here")
@pytest.mark.parametrize(
    ("processor", "instructions"), [("Nehalem", None), ("Haswell", "AVX2"), ("Opteron_G5", None)]
)
def test_an_emulated_processor(processor: str, instructions: str | None) -> None:
    """With AVX2 but not AVX-512, with neither, and with AVX alone."""
    emulator = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
    if emulator is None:
        pytest.skip("qemu's user-mode emulator is not installed (qemu-user-static)")
    answer = report([emulator, "-cpu", processor, sys.executable])
    assert answer["instructions"] == instructions
    assert answer["different"] == []
    if instructions is None:
        assert answer["reason"] == "this processor has no AVX2"


def wheel(tmp_path: Path, **environment: str) -> tuple[str, Path]:
    """The name of the wheel that is built here, and the folder that it is unpacked into."""
    pytest.importorskip("hatchling")
    built = tmp_path / "built"
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*command, "--quiet", "--wheel-dir", str(built), str(ROOT)],
        env={**os.environ, **environment},
        check=True,
    )
    (path,) = built.iterdir()
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "unpacked")
    return path.name, tmp_path / "unpacked"


@pytest.mark.usefixtures("compiled_here")
def test_a_wheel_with_the_encoders(tmp_path: Path) -> None:
    name, folder = wheel(tmp_path)
    assert "-py3-none-" in name
    assert not name.endswith("-any.whl")
    assert report([sys.executable], folder)["instructions"] is not None


def test_a_pure_wheel(tmp_path: Path) -> None:
    """Where there is no compiler, also if this folder holds what one made before."""
    name, folder = wheel(tmp_path, CC="no-such-compiler")
    assert name.endswith("-py3-none-any.whl")
    assert not (folder / "localq/quantize/codecs" / build.FILE_NAME).exists()
    answer = report([sys.executable], folder)
    assert answer["instructions"] is None
    assert "not compiled" in str(answer["reason"])
