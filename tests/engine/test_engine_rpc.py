"""Devices of other machines: what is refused before llama.cpp would end the process."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from localq.engine import devices
from localq.engine.client import Engine, LoadSettings
from localq.engine.rpc import add_rpc_servers, rpc_servers
from localq.errors import EngineError, UsageError
from tests.hub_server import closed_port_url

DEMO = Path(__file__).parents[2] / "localq" / "demo" / "stories260K"


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("", ()),
        (" , ", ()),
        ("gpu-box:50052", ("gpu-box:50052",)),
        ("10.0.0.2:50052, [fe80::1]:1", ("10.0.0.2:50052", "[fe80::1]:1")),
    ],
)
def test_servers_of_the_environment(text: str, servers: tuple[str, ...]) -> None:
    assert rpc_servers({"LOCALQ_RPC_SERVERS": text}) == servers


@pytest.mark.parametrize("text", ["gpu-box", ":50052", "box:0", "box:65536", "a b:1", "x:1;y:2"])
def test_what_cannot_be_a_server(text: str) -> None:
    with pytest.raises(UsageError, match="is not a server") as caught:
        rpc_servers({"LOCALQ_RPC_SERVERS": text})
    assert caught.value.hint == "write it as host:port"


def test_too_many_servers() -> None:
    with pytest.raises(UsageError, match="17 servers"):
        rpc_servers({"LOCALQ_RPC_SERVERS": ",".join(f"box:{port}" for port in range(1, 18))})


def test_no_servers_need_no_library(tmp_path: Path) -> None:
    add_rpc_servers(tmp_path, ())


def test_an_engine_without_its_libraries(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot use other machines' devices"):
        add_rpc_servers(tmp_path, ("box:1",))


def test_nobody_there_is_said_by_both_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the installed engine has no RPC backend, or has one and nobody listens."""
    server = closed_port_url().removeprefix("http://")
    monkeypatch.setenv("LOCALQ_RPC_SERVERS", server)
    said = f"no RPC backend|{server}: no rpc-server answers there"
    with pytest.raises(EngineError, match=said):
        devices.ask_engine()
    with Engine() as engine, pytest.raises(EngineError, match=said) as caught:
        engine.load(LoadSettings(DEMO / "model.safetensors"))
    assert caught.value.hint is not None


def test_the_port_is_asked_before_llama_cpp() -> None:
    from localq.engine.rpc import _refuse_silence

    with socket.create_server(("127.0.0.1", 0)) as server:
        _refuse_silence(f"127.0.0.1:{server.getsockname()[1]}")
    with pytest.raises(EngineError, match="Connection refused"):
        _refuse_silence(closed_port_url().removeprefix("http://"))
