"""Install llama-cpp-python into the environment of the Python that runs this.

    .venv/bin/python packaging/install_engine.py

An engine that is there already is left alone. Else it is compiled, with the options that this
machine needs (engine_flags.py), and the wheel kept under a key of everything it depends on: the
release, the compiler, what "native" means to it, the options. The next checkout on this machine
then takes seconds; another processor, or another compiler, never gets it. pip's own cache would
give it to them: it knows a compiled wheel by its source archive alone, so it is not used.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from engine_flags import build_environment  # this folder is the first that Python searches

from localq.hardware.compiler import compilers, run_compiler

_PACKAGE = "llama-cpp-python"
_PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
# What a build listens to; a launcher, such as ccache, changes nothing of what comes out.
_VARIABLES = re.compile(
    r"(CC|CXX|CFLAGS|CXXFLAGS|CPPFLAGS|LDFLAGS|(CMAKE|SKBUILD|GGML|LLAMA)_\w*(?<!_LAUNCHER))$"
)


def main() -> None:
    release = tested_release()
    if installed := _installed():
        if _version(installed) >= _version(release):
            return
        _say(f"llama-cpp-python {installed} is too old; installing {release}")
    environ = {**os.environ, **build_environment(os.environ)}
    key = wheel_key(release, environ)
    folder = _cache(os.environ) / key if key else None
    if folder and (wheels := sorted(folder.glob("*.whl"))):
        _say(f"taking the engine that was compiled on this machine before: {wheels[0]}")
        _install(wheels[0])
        return
    _say(f"compiling llama-cpp-python {release}: five to ten minutes")
    for name in ("CMAKE_ARGS", "CFLAGS", "CXXFLAGS"):
        if environ.get(name):
            _say(f"  {name}={environ[name]}")
    with tempfile.TemporaryDirectory() as scratch:
        wheel = _compile(release, Path(scratch), environ)
        _install(wheel)
        if folder:
            _keep(wheel, folder)


def tested_release() -> str:
    """The oldest release that pyproject.toml allows: the one whose bytes the tests compare with."""
    project = tomllib.loads(_PYPROJECT.read_text(encoding="utf-8"))["project"]
    wanted = next(d for d in project["dependencies"] if d.startswith(_PACKAGE))
    match = re.search(r">=\s*([0-9.]+)", wanted)
    if match is None:
        raise SystemExit(f"{_PYPROJECT}: {wanted!r} names no oldest release")
    return match[1]


def wheel_key(release: str, environ: Mapping[str, str]) -> str | None:
    """A name for all that decides what a compiled wheel holds and where it runs; None where the
    compiler does not say what it compiles for."""
    native = [_native_macros(compiler) for compiler in compilers(environ)]
    if None in native:
        return None
    parts = [
        release,
        *filter(None, native),
        *(platform.system(), platform.machine(), *platform.libc_ver()),
        _processor_flags(),
        *(f"{name}={value}" for name, value in sorted(environ.items()) if _VARIABLES.match(name)),
    ]
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()
    return f"{release}-{digest[:24]}"


def _native_macros(compiler: Sequence[str]) -> str | None:
    """All that a compiler defines by itself: its version, and what this processor can do."""
    for option in ("-march=native", "-mcpu=native"):
        macros = run_compiler(compiler, (option, "-dM", "-E"), "")
        if macros is not None:
            return macros
    return None


def _processor_flags() -> str:
    """Linux: what the kernel says the processor can do, and lets it do."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _cache(environ: Mapping[str, str]) -> Path:
    if sys.platform == "win32":
        base = environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "localq" / "engine-wheels"


def _compile(release: str, folder: Path, environ: Mapping[str, str]) -> Path:
    _pip(
        *("wheel", "--quiet", "--no-deps", "--no-cache-dir", "--no-binary", _PACKAGE),
        *("--wheel-dir", str(folder), f"{_PACKAGE}=={release}"),
        environ=environ,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def _install(wheel: Path) -> None:
    _pip("install", "--quiet", str(wheel), environ=os.environ)


def _keep(wheel: Path, folder: Path) -> None:
    """A cache that cannot be written costs time, and nothing else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{wheel.name}.{os.getpid()}.partial"
        shutil.copyfile(wheel, partial)
        partial.replace(folder / wheel.name)
    except OSError as error:
        _say(f"the compiled engine could not be kept for the next time: {error}")


def _pip(*arguments: str, environ: Mapping[str, str]) -> None:
    command = [sys.executable, "-m", "pip", *arguments]
    code = subprocess.run(command, env=environ, check=False).returncode
    if code:
        raise SystemExit(f"installing the engine failed: {' '.join(command)}")


def _installed() -> str | None:
    try:
        return metadata.version(_PACKAGE)
    except metadata.PackageNotFoundError:
        return None


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text.partition("+")[0])[:3])


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
