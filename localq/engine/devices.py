"""What the installed engine can run on, asked in a process of its own.

llama.cpp prints, loads drivers that may crash, and may abort the process, so `python -m
localq.engine.devices` asks ggml's registry of backends and answers with one line of JSON on what
was its stdout. The parent believes nothing of it before it is checked.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal

from localq.engine.bindings import library, library_folder, llama_cpp
from localq.engine.canary.verdict import engine_environment
from localq.engine.mode import EngineMode, chosen_mode
from localq.engine.rpc import add_rpc_servers, rpc_servers
from localq.engine.variants import load_backends
from localq.errors import EngineError, LocalqError
from localq.json_codec import from_json, to_json
from localq.messages import msg

__all__ = [
    "DeviceKind",
    "EngineDevice",
    "EngineReport",
    "ask_engine",
    "decode_report",
    "engine_version",
    "main",
]

DeviceKind = Literal["cpu", "gpu", "igpu", "accel"]

if sys.platform == "win32":
    _NO_WINDOW = subprocess.CREATE_NO_WINDOW
else:
    _NO_WINDOW = 0
_TIMEOUT_SECONDS = 20.0  # the first use of a GPU's driver after a start may take this long
_MAX_ANSWER = 1 << 20
_MAX_DEVICES = 64
_MAX_TEXT = 256
# enum ggml_backend_dev_type; the last one stands for several of the others
_KINDS: tuple[DeviceKind | None, ...] = ("cpu", "gpu", "igpu", "accel", None)
_BACKEND_NAMES = {"MTL": "Metal"}


@dataclass(frozen=True, slots=True)
class EngineDevice:
    """A device of ggml's registry; bytes are 0 where it does not say."""

    id: str
    description: str
    backend: str
    kind: DeviceKind
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What the engine says of itself."""

    backends: tuple[str, ...]
    cpu_features: tuple[str, ...]
    """Instruction sets and options of its CPU backend, by llama.cpp's names."""
    supports_gpu_offload: bool
    devices: tuple[EngineDevice, ...]


def engine_version() -> str | None:
    """The installed llama-cpp-python's version; None where there is none."""
    try:
        return metadata.version("llama-cpp-python")
    except metadata.PackageNotFoundError:
        return None


def ask_engine(
    timeout: float = _TIMEOUT_SECONDS, command: tuple[str, ...] | None = None
) -> EngineReport:
    """Ask the engine, in a process of its own. EngineError: it cannot be loaded, crashed, hangs,
    or answers nonsense. `command` stands in for that process, for tests."""
    try:
        process = subprocess.Popen(
            command or (sys.executable, "-P", "-m", "localq.engine.devices"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=engine_environment(),
            creationflags=_NO_WINDOW,
        )
    except OSError as error:
        raise EngineError(msg("the engine cannot be started: {error}", error=error)) from error
    try:
        answer, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        # A process stuck in a driver cannot be killed; it is not waited for either.
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=1)
        raise EngineError(
            msg("the engine did not say within {timeout:g} s what it can run on", timeout=timeout)
        ) from None
    if process.returncode != 0:
        raise EngineError(
            msg(
                "the engine crashed when it was asked what it can run on (exit code {returncode})",
                returncode=process.returncode,
            )
        )
    return decode_report(answer)


def decode_report(answer: bytes) -> EngineReport:
    """The report in the child's answer. EngineError: it is none, or says why there is none."""
    try:
        if len(answer) > _MAX_ANSWER:
            raise ValueError("the answer is too long")
        value = json.loads(answer)
        if isinstance(value, dict) and isinstance(value.get("error"), str):
            raise EngineError(value["error"][:_MAX_TEXT])
        if not isinstance(value, dict) or not isinstance(value.get("devices"), list):
            raise TypeError("the answer has no devices")
        listed = value.pop("devices")[:_MAX_DEVICES]
        devices = tuple(from_json(EngineDevice, device) for device in listed)
        report: EngineReport = from_json(EngineReport, {**value, "devices": []})
    except (ValueError, TypeError, RecursionError) as error:
        raise EngineError(
            msg("the engine says nonsense about its devices: {error}", error=error)
        ) from error
    if any(not 0 <= d.free_bytes <= d.total_bytes for d in devices):
        raise EngineError(msg("the engine says nonsense about its devices' memory"))
    return EngineReport(report.backends, report.cpu_features, report.supports_gpu_offload, devices)


def main() -> None:
    """Ask the library in this process and write the answer to what was stdout."""
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the libraries print is no part of the answer
    try:
        value = to_json(_report())
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        value = {"error": f"llama.cpp cannot be loaded: {error}"}
    except LocalqError as error:
        value = {"error": error.message}
    with answer:
        answer.write(json.dumps(value).encode())
    os._exit(0)  # the destructors of some drivers crash


def _report() -> EngineReport:
    api = llama_cpp()
    folder = library_folder(api)
    registry, base = library(folder, "ggml"), library(folder, "ggml-base")
    load_backends(api, chosen_mode() or EngineMode())
    api.llama_backend_init()
    count = _function(registry, "ggml_backend_reg_count", ctypes.c_size_t)
    get = _function(registry, "ggml_backend_reg_get", ctypes.c_void_p, ctypes.c_size_t)
    name = _function(base, "ggml_backend_reg_name", ctypes.c_char_p, ctypes.c_void_p)
    names = [_backend(name(get(i))) for i in range(min(count(), _MAX_DEVICES))]
    add_rpc_servers(folder, rpc_servers())  # each server enters itself as a backend more
    return EngineReport(
        backends=tuple(names),
        cpu_features=_features(_text(api.llama_print_system_info())),
        supports_gpu_offload=bool(api.llama_supports_gpu_offload()),
        devices=tuple(_devices(registry, base)),
    )


def _devices(registry: ctypes.CDLL, base: ctypes.CDLL) -> list[EngineDevice]:
    pointer, size, text = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
    count = _function(registry, "ggml_backend_dev_count", size)
    get = _function(registry, "ggml_backend_dev_get", pointer, size)
    name = _function(base, "ggml_backend_dev_name", text, pointer)
    description = _function(base, "ggml_backend_dev_description", text, pointer)
    type_ = _function(base, "ggml_backend_dev_type", ctypes.c_int, pointer)
    backend = _function(base, "ggml_backend_dev_backend_reg", pointer, pointer)
    backend_name = _function(base, "ggml_backend_reg_name", text, pointer)
    memory = _function(
        base, "ggml_backend_dev_memory", None, pointer, ctypes.POINTER(size), ctypes.POINTER(size)
    )
    found: list[EngineDevice] = []
    for index in range(min(count(), _MAX_DEVICES)):
        device = get(index)
        number = type_(device)
        kind = _KINDS[number] if 0 <= number < len(_KINDS) else None
        if kind is None:
            continue
        free, total = size(0), size(0)
        memory(device, ctypes.byref(free), ctypes.byref(total))
        found.append(
            EngineDevice(
                id=_text(name(device)),
                description=_text(description(device)).strip(),
                backend=_backend(backend_name(backend(device))),
                kind=kind,
                total_bytes=total.value,
                free_bytes=min(free.value, total.value),
            )
        )
    return found


def _features(info: str) -> tuple[str, ...]:
    """The names set to something but 0 in "CPU : AVX = 1 | FMA = 1 | ", of the CPU backend."""
    found: list[str] = []
    backend = ""
    for part in info.split("|"):
        before, colon, setting = part.rpartition(" : ")
        if colon:
            backend = before.strip()
        name, equals, value = setting.partition("=")
        if equals and value.strip() != "0" and backend == "CPU":
            found.append(name.strip()[:_MAX_TEXT])
    return tuple(found[:_MAX_DEVICES])


def _backend(name: bytes | None) -> str:
    text = _text(name)
    return _BACKEND_NAMES.get(text, text)


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")[: _MAX_TEXT * 16]


def _function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    function = getattr(library, name)
    function.restype = result
    function.argtypes = list(arguments)
    return function  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
