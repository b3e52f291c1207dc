"""What an environment has in it and whether it loads, as its own Python says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localq.errors import LocalqError
from localq.gpu_quant.watched_command import clean_environment, run_watched
from localq.messages import msg

__all__ = ["Examination", "Gpu", "Torch", "examine"]

_SCRIPT = Path(__file__).with_name("examine.py")


@dataclass(frozen=True, slots=True)
class Gpu:
    """As torch sees it."""

    name: str
    compute_capability: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Torch:
    """`cuda` is the CUDA version torch was built for; None: for processors alone."""

    version: str
    cuda: str | None
    cuda_available: bool
    gpus: tuple[Gpu, ...]


@dataclass(frozen=True, slots=True)
class Examination:
    """`failures`: modules that do not load, and why."""

    python: str
    packages: Mapping[str, str]
    failures: Mapping[str, str]
    torch: Torch | None


def examine(
    python: Path,
    modules: Sequence[str],
    cancel: threading.Event,
    on_line: Callable[[str], None] = lambda line: None,
) -> Examination:
    """Let `python` load the modules. LocalqError where it cannot even say what there is."""
    last = ""

    def heard(line: str) -> None:
        nonlocal last
        last = line if line.startswith('{"python"') else last
        on_line(line)

    command: list[str | Path] = [python, "-I", _SCRIPT, *modules]
    code = run_watched(command, clean_environment({}), cancel, heard)
    try:
        return _read(json.loads(last))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LocalqError(
            msg("{python}: does not work (exit code {code})", python=python, code=code),
            hint=msg("localq backend doctor"),
        ) from error


def _read(value: dict[str, Any]) -> Examination:
    torch = value["torch"]
    return Examination(
        python=str(value["python"]),
        packages={str(key): str(version) for key, version in sorted(value["packages"].items())},
        failures={
            str(name): str(one["error"])
            for name, one in value["imports"].items()
            if one["error"] is not None
        },
        torch=torch
        and Torch(
            version=str(torch["version"]),
            cuda=None if torch["cuda"] is None else str(torch["cuda"]),
            cuda_available=bool(torch["cuda_available"]),
            gpus=tuple(
                Gpu(str(gpu["name"]), (int(gpu["capability"][0]), int(gpu["capability"][1])))
                for gpu in torch["gpus"]
            ),
        ),
    )
