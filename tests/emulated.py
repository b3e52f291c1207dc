"""The engine and the codecs on processors that are not here.

    python -m tests.emulated [--qemu qemu-x86_64-static] [--types Q4_0,Q4_K_M] CPU...

On each CPU that qemu knows (Nehalem, SandyBridge, Haswell, ...), with every process emulated: the
canary, a model quantized to every type, and a few tokens generated from each. The files have to be
the bytes that this processor makes, and no process may die. A wheel that carries all CPU variants
(packaging/engine_wheel.sh) must pass everywhere; one compiled for this processor will not.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from localq.engine import Engine, LoadSettings, SamplingParams
from localq.engine.canary.check import BOUND, run_probe
from localq.engine.mode import MODE_VARIABLE, EngineMode
from localq.errors import LocalqError
from localq.events import ignore
from localq.formats.types import QuantType
from localq.library import Library
from localq.services.make.quantize import QuantizeRequest, quantize
from tests.checkpoints import SMOLLM2_CONFIG, write_llama_checkpoint

_ROOT = Path(__file__).parent.parent
_DEMO = _ROOT / "localq" / "demo" / "stories260K"
_PATIENCE = 1200.0
_WEIGHED = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "Q2_K_S")
"""Those that need an importance matrix."""
_NO_IMATRIX = tuple(type_.name for type_ in QuantType if type_.name not in _WEIGHED)
# Children are started as sys.executable, which the emulator does not know to emulate.
_START = (
    "import sys, runpy; sys.executable = sys.argv[1]; sys.argv[1:] = sys.argv[2:];"
    " runpy.run_module('tests.emulated', run_name='__main__', alter_sys=True)"
)


def main() -> int:
    parser = argparse.ArgumentParser(description="see the module")
    parser.add_argument("--qemu", default="qemu-x86_64-static")
    parser.add_argument("--types", default=",".join(_NO_IMATRIX))
    parser.add_argument("--task", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("cpus", nargs="*", metavar="CPU")
    arguments = parser.parse_args()
    types = arguments.types.split(",")
    if arguments.task:
        sys.stdout.write(json.dumps(_task(arguments.task, types)))
        return 0
    if not shutil.which(arguments.qemu):
        parser.error(f"{arguments.qemu} is not installed (Debian: qemu-user-static)")
    with tempfile.TemporaryDirectory() as scratch:
        return _compare(Path(scratch), arguments.qemu, arguments.cpus, types)


def _compare(scratch: Path, qemu: str, cpus: list[str], types: list[str]) -> int:
    config = {
        **SMOLLM2_CONFIG,
        **{"hidden_size": 256, "num_attention_heads": 4, "vocab_size": 512},
        **{"num_hidden_layers": 1},
    }
    checkpoint = write_llama_checkpoint(
        scratch / "model", config=config, dtype="F32", tokenizer_from=_DEMO
    )
    here = _run(scratch, checkpoint, [], types)
    _say(f"{'this processor':<20} {_summary(here, here)}")
    failed = 0
    for cpu in cpus:
        started = time.monotonic()
        there = _run(scratch, checkpoint, [qemu, "-cpu", cpu], types)
        failed += not _good(there, here)
        seconds = time.monotonic() - started
        _say(f"{cpu:<20} {_summary(there, here)} ({seconds:.0f} s)")
    return 1 if failed or not _good(here, here) else 0


def _run(scratch: Path, checkpoint: Path, emulator: list[str], types: list[str]) -> dict[str, Any]:
    """What the task said in a process of such a processor; {} where it died."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    python = folder / "python"
    quoted = " ".join(f"'{part}'" for part in (*emulator, sys.executable))
    python.write_text(f'#!/bin/sh\nexec {quoted} "$@"\n')
    python.chmod(0o755)
    shutil.copytree(checkpoint, folder / "model")
    command = [
        *(str(python), "-c", _START, str(python)),
        *("--types", ",".join(types), "--task", str(folder)),
    ]
    environ = {**os.environ, "LOCALQ_HOME": str(folder / "home"), MODE_VARIABLE: "default"}
    done = subprocess.run(command, env=environ, cwd=_ROOT, capture_output=True, check=False)
    shutil.rmtree(folder)
    with contextlib.suppress(ValueError):
        value: dict[str, Any] = json.loads(done.stdout)
        return value
    return {"died": done.returncode}


def _task(folder: Path, types: list[str]) -> dict[str, Any]:
    answer = run_probe(EngineMode(), (), _PATIENCE)
    variants = run_probe(EngineMode(), ("--variants",), _PATIENCE).value.get("variants", [])
    bytes_, texts, errors = {}, {}, {}
    sampling = SamplingParams(max_tokens=4, temperature=0)
    with Library() as library, Engine(log=folder / "engine.log") as engine:
        for name in types:
            output = folder / f"{name}.gguf"
            request = QuantizeRequest(QuantType[name], str(folder / "model"), output)
            try:
                quantize(library, request, ignore, threading.Event())
                bytes_[name] = hashlib.sha256(output.read_bytes()).hexdigest()
                engine.load(LoadSettings(output, n_ctx=64))
                done = engine.generate("Once upon a time", sampling, on_text=lambda _: None)
                texts[name] = done.generated_tokens
            except LocalqError as error:
                errors[name] = error.message
            output.unlink(missing_ok=True)
    return {
        "canary": answer.value.get("deviation", answer.code),
        "variants": variants,
        "bytes": bytes_,
        "generated": texts,
        "errors": errors,
    }


def _good(there: dict[str, Any], here: dict[str, Any]) -> bool:
    canary = there.get("canary")
    return (
        isinstance(canary, float)
        and canary <= BOUND
        and not there["errors"]
        and there["bytes"] == here["bytes"]
        and there["generated"].keys() == here["bytes"].keys()
    )


def _summary(there: dict[str, Any], here: dict[str, Any]) -> str:
    if "died" in there:
        return f"DIED ({there['died']})"
    same = sum(there["bytes"].get(name) == value for name, value in here["bytes"].items())
    canary = there["canary"]
    shown = f"{canary:.2%} off" if isinstance(canary, float) else f"DIED ({canary})"
    variant = (there["variants"] or ["as built"])[0]
    errors = "".join(f"\n  {name}: {error}" for name, error in there["errors"].items())
    return (
        f"{variant}: canary {shown}, {same} of {len(here['bytes'])} types quantized to the same"
        f" bytes, {len(there['generated'])} answered{errors}"
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
