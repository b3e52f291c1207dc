"""The engine's installation from this repository: which wheel is taken, and which never."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "packaging" / "install_engine.py"
pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or not SCRIPT.exists(), reason="needs the repository, and a POSIX shell"
)

# A source archive that is "compiled" in no time; the wheel says with which options.
_BACKEND = """
import os, zipfile
METADATA = "Metadata-Version: 2.1\\nName: llama-cpp-python\\nVersion: 0.3.36\\n"
WHEEL = "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
def build_wheel(folder, config_settings=None, metadata_directory=None):
    name, info = "llama_cpp_python-0.3.36-py3-none-any.whl", "llama_cpp_python-0.3.36.dist-info/"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("engine_flags_used.txt", os.environ.get("CFLAGS", ""))
        wheel.writestr(info + "METADATA", METADATA)
        wheel.writestr(info + "WHEEL", WHEEL)
        wheel.writestr(info + "RECORD", "")
    with open(os.environ["BUILDS"], "a") as log:
        log.write(os.environ.get("CFLAGS", "") + "\\n")
    return name
"""
_PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def keys(environ: Mapping[str, str], release: str = "0.3.36") -> str:
    code = (
        f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import os, install_engine;"
        f" print(install_engine.wheel_key({release!r}, os.environ))"
    )
    full = {"PATH": os.environ["PATH"], **environ}
    return subprocess.run(
        [sys.executable, "-c", code], env=full, capture_output=True, text=True, check=True
    ).stdout.strip()


def compiler(folder: Path, macros: str) -> str:
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\ncat >/dev/null\necho '{macros}'\n")
    path.chmod(0o755)
    return str(path)


def test_a_wheel_is_known_by_all_that_it_depends_on(tmp_path: Path) -> None:
    cc = compiler(tmp_path, '#define __VERSION__ "12.2.0"')
    here = {"CC": cc, "CXX": cc}
    key = keys(here)
    assert key.startswith("0.3.36-")
    assert keys(here | {"CMAKE_CXX_COMPILER_LAUNCHER": "ccache", "HOME": "/x"}) == key
    others = [
        keys(here, "0.3.37"),
        keys(here | {"CXXFLAGS": "-mno-amx-tile"}),
        keys(here | {"CMAKE_ARGS": "-DGGML_CUDA=on"}),
    ]
    compiler(tmp_path, '#define __VERSION__ "13.3.0"')
    others.append(keys(here))
    compiler(tmp_path, '#define __VERSION__ "12.2.0"\n#define __AVX512F__ 1')
    others.append(keys(here))
    assert len({key, *others}) == 6
    assert keys(here | {"CXX": "/is/not/there"}) == "None"


@pytest.mark.slow
def test_no_wheel_slips_in(tmp_path: Path) -> None:
    archives = tmp_path / "archives"
    archives.mkdir()
    with tarfile.open(archives / "llama_cpp_python-0.3.36.tar.gz", "w:gz") as archive:
        files = {
            "backend.py": _BACKEND,
            "pyproject.toml": _PYPROJECT,
            "PKG-INFO": "Metadata-Version: 2.1\nName: llama-cpp-python\nVersion: 0.3.36\n",
        }
        for name, text in files.items():
            entry = tarfile.TarInfo(f"llama_cpp_python-0.3.36/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    builds = tmp_path / "builds"
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(archives),
        "PIP_CACHE_DIR": str(tmp_path / "pip"),
        "BUILDS": str(builds),
        "CXX": compiler(tmp_path, "ldtilecfg -64(%rsp)"),  # that breaks AMX
    }
    environ["CC"] = environ["CXX"]

    def install(**more: str) -> str:
        """The flags of the engine that is installed afterwards."""
        subprocess.run([python, "-m", "pip", "uninstall", "-qy", "llama-cpp-python"], check=True)
        subprocess.run([python, SCRIPT], env=environ | more, check=True)
        folder = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
        return (folder / "engine_flags_used.txt").read_text()

    # pip's own cache holds an engine of other options.
    command = [python, "-m", "pip", "install", "-q", "llama-cpp-python"]
    subprocess.run(command, env=environ | {"CFLAGS": "-foreign"}, check=True)
    assert builds.read_text() == "-foreign\n"
    flags = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
    assert install() == flags
    assert builds.read_text() == f"-foreign\n{flags}\n"
    assert install() == flags  # the second checkout does not compile again
    assert builds.read_text() == f"-foreign\n{flags}\n"
    assert install(CFLAGS="-O1") == f"-O1 {flags}"
    compiler(tmp_path, "movl $1515870810, -16(%rsp)\nldtilecfg -64(%rsp)")  # a good one
    assert install() == ""
    assert len(builds.read_text().splitlines()) == 4
    before = builds.read_text()
    subprocess.run([python, SCRIPT], env=environ | {"CFLAGS": "-new"}, check=True)
    assert builds.read_text() == before  # an engine that is there is left alone
