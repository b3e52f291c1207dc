"""Other machines' devices, lent by llama.cpp's rpc-server.

LOCALQ_RPC_SERVERS names them as "host:port,host:port". What crosses the network is neither
encrypted nor checked, so llama.cpp's own advice holds: only in a network of one's own.
"""

from __future__ import annotations

import ctypes
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path

from localq.engine.bindings import library
from localq.errors import EngineError, UsageError
from localq.messages import msg

__all__ = ["add_rpc_servers", "rpc_servers"]

_VARIABLE = "LOCALQ_RPC_SERVERS"
_MAX_SERVERS = 16
_CONNECT_SECONDS = 5.0
_SERVER = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})")


def rpc_servers(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The servers the environment names. UsageError for what cannot be one."""
    named = tuple(part.strip() for part in environ.get(_VARIABLE, "").split(",") if part.strip())
    for server in named:
        match = _SERVER.fullmatch(server)
        if match is None or not 0 < int(match[1]) < 1 << 16:
            raise UsageError(
                msg(
                    "{variable}: {server!r} is not a server", variable=_VARIABLE, server=server[:80]
                ),
                hint=msg("write it as host:port"),
            )
    if len(named) > _MAX_SERVERS:
        raise UsageError(
            msg(
                "{variable} names {named} servers; {max_servers} are the most",
                variable=_VARIABLE,
                named=len(named),
                max_servers=_MAX_SERVERS,
            )
        )
    return named


def add_rpc_servers(folder: Path, servers: tuple[str, ...]) -> None:
    """Enter the servers' devices into ggml's registry, in this process, before a model is loaded.

    `folder` holds llama.cpp's libraries. EngineError where they have no RPC backend, or a server
    does not answer.
    """
    if not servers:
        return
    try:
        registry, base = library(folder, "ggml"), library(folder, "ggml-base")
        find, address = registry.ggml_backend_reg_by_name, base.ggml_backend_reg_get_proc_address
        register = registry.ggml_backend_register
    except (OSError, AttributeError) as error:
        raise EngineError(
            msg("the engine cannot use other machines' devices: {error}", error=error)
        ) from error
    find.restype, find.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]
    register.restype, register.argtypes = None, [ctypes.c_void_p]
    backend = find(b"RPC")
    function = address(backend, b"ggml_backend_rpc_add_server") if backend else None
    if not function:
        raise EngineError(
            msg(
                "{variable} is set, but the installed engine has no RPC backend", variable=_VARIABLE
            ),
            hint='CMAKE_ARGS="-DGGML_RPC=on" pip install --force-reinstall --no-cache-dir'
            " --no-binary llama-cpp-python llama-cpp-python",
        )
    add = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p)(function)
    for server in servers:
        _refuse_silence(server)
        register(add(server.encode()))


def _refuse_silence(server: str) -> None:
    """EngineError where nobody listens: llama.cpp would abort the process."""
    host, _, port = server.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise EngineError(
            msg(
                "{server}: no rpc-server answers there: {strerror}",
                server=server,
                strerror=error.strerror or error,
            ),
            hint=msg(
                "start llama.cpp's rpc-server on it, or take it out of {variable}",
                variable=_VARIABLE,
            ),
        ) from error
