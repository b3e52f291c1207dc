"""pip, the user's own: its indexes, proxies, certificates and cache are all honoured."""

from __future__ import annotations

import json
import re
import sys
import threading
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit

from localq.convert.external.child import Ended, OnLine, python_environment, run_child
from localq.convert.external.requirements import Requirements
from localq.errors import LocalqError
from localq.events import Emit, Progress
from localq.messages import msg

__all__ = ["Package", "Pip", "make_environment"]

_PLANS_SINCE = (25, 3)
"""pip#13482: from then on a dry run fetches metadata only, not the packages themselves."""
_RAW_PROGRESS_SINCE = (24, 1)
_PYTHON_OPTION_SINCE = (22, 3)

_RAW_PROGRESS = re.compile(r"Progress (\d{1,15}) of (\d{1,15})")
_SIZE_SECONDS = 10.0
_PROBE_SECONDS = "15"

# pip prepares the metadata of every sdist it downloads, by running code that the sdist chooses.
# Found first on the path, this answers instead; nothing of the archive is run.
_BACKEND = '''\
"""Stands in for the build backend: tells pip name and version, builds nothing."""
from pathlib import Path

NAME, VERSION = {name!r}, {version!r}


def get_requires_for_build_wheel(config_settings=None):
    return []


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    folder = Path(metadata_directory) / (NAME + "-" + VERSION + ".dist-info")
    folder.mkdir()
    text = "Metadata-Version: 2.1\\nName: " + NAME + "\\nVersion: " + VERSION + "\\n"
    (folder / "METADATA").write_text(text)
    return folder.name


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    raise RuntimeError("not to be built")
'''


@dataclass(frozen=True, slots=True)
class Package:
    """What pip would fetch; `size_bytes` is None where the index does not say."""

    name: str
    version: str
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Pip:
    """A pip and the environment's Python it installs into; `scratch` is a folder of theirs."""

    command: tuple[str, ...]
    version: tuple[int, int]
    scratch: Path
    log: Path
    cancel: threading.Event

    def reachable(self, index: str) -> bool:
        """Whether `index` answers; an unreachable one would cost minutes at every package."""
        marker = f"Could not fetch URL {index.rstrip('/')}/"
        missed: list[str] = []

        def listen(line: str) -> bool:
            if marker in line:
                missed.append(line)
            return line.lstrip().startswith(("Found link", "Skipping link", "Link requires"))

        options = ("--index-url", index, "--retries", "0", "--timeout", _PROBE_SECONDS, "-vv")
        self._run(["index", "versions", "torch", *options], listen)
        return not missed

    def plan(self, requirements: Requirements) -> list[Package] | None:
        """What installing would fetch; None where pip cannot tell without fetching it all, or
        does not know what to take."""
        if self.version < _PLANS_SINCE:
            return None
        report = self.scratch / "report.json"
        what = ("install", "--dry-run", "--ignore-installed", "--quiet", "--report", str(report))
        if self._run([*what, *self._arguments(requirements)], _listen).code:
            return None
        try:
            found = [
                (
                    entry["metadata"]["name"],
                    entry["metadata"]["version"],
                    entry["download_info"]["url"],
                )
                for entry in json.loads(report.read_bytes())["install"]
            ]
        except (OSError, ValueError, LookupError, TypeError):
            return None
        with ThreadPoolExecutor(8) as pool:
            sizes = list(pool.map(_remote_size, [url for _, _, url in found]))
        pairs = zip(found, sizes, strict=True)
        return [Package(name, version, size) for (name, version, _), size in pairs]

    def download_sdist(self, name: str, version: str, emit: Emit) -> Path:
        """Fetch a source archive and check its hash, without running anything in it."""
        backend = self.scratch / "backend" / "scikit_build_core"
        backend.mkdir(parents=True)
        (backend / "__init__.py").touch()
        normalized = name.replace("-", "_")
        text = _BACKEND.format(name=normalized, version=version)
        (backend / "build.py").write_text(text, encoding="utf-8")
        folder = self.scratch / "sdist"
        options = ["--no-deps", "--no-build-isolation", "--no-binary", name, "-d", str(folder)]
        ended = self._run(
            ["download", *options, *self._raw_progress(), f"{name}=={version}"],
            _Meter(emit, "fetching llama.cpp's converter"),
            PYTHONPATH=str(backend.parent),
        )
        archives = list(folder.glob(f"{normalized}-*.tar.gz"))
        if ended.code or len(archives) != 1:
            raise self._failed(f"the source archive of {name} {version} could not be got", ended)
        return archives[0]

    def install(self, requirements: Requirements, total_bytes: int, emit: Emit) -> None:
        """Install into the environment, reporting bytes fetched of `total_bytes` (0: unknown)."""
        if not requirements.packages:
            return
        ended = self._run(
            ["install", *self._raw_progress(), *self._arguments(requirements)],
            _Meter(emit, "fetching torch and transformers", total_bytes),
        )
        if ended.code:
            raise self._failed("what llama.cpp's converter needs could not be installed", ended)

    def _arguments(self, requirements: Requirements) -> list[str]:
        indexes = [part for index in requirements.indexes for part in ("--extra-index-url", index)]
        return [*indexes, "--", *requirements.packages]

    def _raw_progress(self) -> tuple[str, ...]:
        return ("--progress-bar", "raw" if self.version >= _RAW_PROGRESS_SINCE else "off")

    def _run(self, arguments: Sequence[str], on_line: OnLine, **environ: str) -> Ended:
        return run_child(
            [*self.command, *arguments],
            env=_environment(self.scratch, **environ),
            cwd=self.scratch,
            log=self.log,
            cancel=self.cancel,
            on_line=on_line,
        )

    def _failed(self, what: str, ended: Ended) -> LocalqError:
        return LocalqError(
            msg("{what}: {describe}", what=what, describe=ended.describe()),
            hint=msg("pip's log is {log}", log=self.log),
        )


def make_environment(folder: Path, scratch: Path, log: Path, cancel: threading.Event) -> Pip:
    """A virtual environment in `folder`, and the newest pip at hand to fill it with.

    Downloads nothing. LocalqError where Python cannot make one.
    """
    own = (sys.executable, "-m", "pip")
    version = _pip_version(own, scratch, log, cancel)
    borrowed = version >= _PYTHON_OPTION_SINCE
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    ended = run_child(
        [sys.executable, "-m", "venv", *(["--without-pip"] if borrowed else []), folder],
        env=python_environment(),
        cwd=scratch,
        log=log,
        cancel=cancel,
        on_line=_listen,
    )
    if ended.code:
        raise LocalqError(
            msg(
                "Python cannot make a virtual environment here: {describe}",
                describe=ended.describe(),
            ),
            hint=msg("install pip beside localq, or your system's python3-venv package"),
        )
    if borrowed:
        return Pip((*own, "--python", str(python)), version, scratch, log, cancel)
    inner = (str(python), "-m", "pip")
    return Pip(inner, _pip_version(inner, scratch, log, cancel), scratch, log, cancel)


def _pip_version(
    command: tuple[str, ...], scratch: Path, log: Path, cancel: threading.Event
) -> tuple[int, int]:
    """(0, 0) where there is no pip."""
    said: list[str] = []

    def listen(line: str) -> bool:
        said.append(line)
        return False

    environ = _environment(scratch)
    arguments = [*command, "--version"]
    run_child(arguments, env=environ, cwd=scratch, log=log, cancel=cancel, on_line=listen)
    match = re.match(r"pip (\d{1,6})\.(\d{1,6})", said[0] if said else "")
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _environment(scratch: Path, **changes: str) -> dict[str, str]:
    settings = {
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_USER": "0",
        # Wheels of gigabytes do not fit a /tmp in memory; and all of it goes with the scratch.
        **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch)),
    }
    environ = python_environment(**settings, **changes)
    for elsewhere in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON", "PIP_LOG"):
        environ.pop(elsewhere, None)
    return environ


def _listen(line: str) -> bool:
    return False


class _Meter:
    """Turns pip's raw progress into events: bytes of all files, not of each from zero."""

    def __init__(self, emit: Emit, stage: str, total: int = 0) -> None:
        self._emit = emit
        self._stage = stage
        self._total = total
        self._finished = 0
        self._current = 0

    def __call__(self, line: str) -> bool:
        match = _RAW_PROGRESS.fullmatch(line)
        if match is None:
            return False
        done, size = int(match[1]), int(match[2])
        if done < self._current:
            self._finished += self._current
        self._current = done
        so_far = self._finished + done
        known = max(self._total, so_far) if self._total else size
        self._emit(Progress(self._stage, so_far, known))
        return True


def _remote_size(url: str) -> int | None:
    """Bytes of the file at `url`, asked for without fetching it."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        try:
            return Path(urllib.request.url2pathname(parts.path)).stat().st_size
        except OSError:
            return None
    if parts.scheme not in ("https", "http"):
        return None
    # Some package indexes do not answer HEAD, or not with a length: one byte's answer has it too.
    for question, header in (
        (urllib.request.Request(url, method="HEAD"), "Content-Length"),
        (urllib.request.Request(url, headers={"Range": "bytes=0-0"}), "Content-Range"),
    ):
        try:
            with urllib.request.urlopen(question, timeout=_SIZE_SECONDS) as answer:
                length: Any = answer.headers.get(header, "").rpartition("/")[2]
        except (URLError, OSError, ValueError, HTTPException):
            continue
        if length.isascii() and length.isdigit():
            return int(length)
    return None
