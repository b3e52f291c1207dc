"""Who may not speak to a server, and what clients may not do to it."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from localq.server.settings import Limits, ServerSettings
from tests.server.serving import Server, serving, story_model

ONCE = [{"role": "user", "content": "Once upon a time"}]
ASK = {"messages": ONCE, "max_tokens": 2, "temperature": 0}
ENDLESS = {"messages": ONCE, "ignore_eos": True, "temperature": 1, "stream": True}
CHAT = "/v1/chat/completions"


def until(true: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return found


def raw_post(body: bytes, headers: str = "") -> bytes:
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    )
    return head.encode() + body


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "", "127.0.0.1.nip.io:80"]
)
def test_other_names_for_this_machine_are_refused(server: Server, host: str) -> None:
    status, document, _ = server.ask("POST", CHAT, ASK, {"Host": host})
    assert status == 403
    assert document["error"]["code"] == "host_not_allowed"


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:80", "192.168.1.9"]
)
def test_its_own_names_are_not(server: Server, host: str) -> None:
    assert server.ask("GET", "/health", None, {"Host": host})[0] == 200


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://localhost.evil.example", "file://", "http://["],
)
def test_web_pages_of_strangers_are_refused(server: Server, origin: str) -> None:
    for method in ("POST", "OPTIONS"):
        status, document, headers = server.ask(method, CHAT, ASK, {"Origin": origin})
        assert status == 403
        assert document["error"]["code"] == "origin_not_allowed"
        assert "access-control-allow-origin" not in headers
    assert server.ask("GET", "/v1/models", None, {"Sec-Fetch-Site": "cross-site"})[0] == 403


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "https://friend.example", "tauri://localhost"]
)
def test_pages_of_this_machine_and_of_friends_are_told_so(server: Server, origin: str) -> None:
    status, _, headers = server.ask("OPTIONS", CHAT, None, {"Origin": origin})
    assert status == 204
    assert headers["access-control-allow-origin"] == origin
    status, _, headers = server.ask("POST", CHAT, ASK, {"Origin": origin})
    assert status == 200
    assert headers["access-control-allow-origin"] == origin


def test_a_key_is_asked_for(tmp_path: Path) -> None:
    with serving(tmp_path, settings=ServerSettings(api_key="s3cret")) as server:
        for headers in (
            {},
            {"Authorization": "Bearer s3cre"},
            {"Authorization": "Basic s3cret"},
            {"Authorization": "Bearer "},
            {"x-api-key": "s3cret\xe9"},
        ):
            status, document, _ = server.ask("GET", "/v1/models", None, headers)
            assert status == 401
            assert document["error"]["code"] == "invalid_api_key"
        for headers in ({"Authorization": "Bearer s3cret"}, {"X-Api-Key": "s3cret"}):
            assert server.ask("GET", "/v1/models", None, headers)[0] == 200
        assert server.get("/health")[0] == 200
        status, document = server.post(CHAT, ASK, Authorization="Bearer s3cret")
        assert status == 404  # there is no model at all


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"\xff\xfe{}",
        b'{"messages": [{"role": "user", "content": "\xc3\x28"}]}',
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"temperature": NaN, "messages": []}',
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"a":' + b"[" * 100_000,
        b'{"seed": ' + b"9" * 5000 + b"}",
    ],
)
def test_a_body_that_is_none_is_refused(server: Server, body: bytes) -> None:
    status, document = server.post(CHAT, body)
    assert status == 400
    assert document["error"]["message"]


def test_a_large_body_is_refused_before_it_is_read(server: Server) -> None:
    with server.connect() as connection:
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 104857600\r\n\r\n"
        connection.sendall(head.encode())
        assert b" 413 " in connection.recv(1000)
    with server.connect() as connection:  # one that does not say how long it will be
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        try:
            for _ in range(1600):  # 100 MB
                connection.sendall(chunk)
            pytest.fail("all of it was taken")
        except OSError:
            pass


def test_a_request_that_trickles_in_is_cut_off(server: Server) -> None:
    for start in (b"", b"POST /v1/chat", raw_post(b"")[:-2]):
        with server.connect() as connection:
            connection.sendall(start)
            began = time.monotonic()
            connection.settimeout(10)
            try:
                while connection.recv(100):
                    pass
            except ConnectionError:
                pass
            assert time.monotonic() - began < 8


def test_a_body_that_trickles_in_is_cut_off(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(raw_post(b"x" * 100)[:-50])
        assert b" 408 " in connection.recv(1000)


def test_many_slow_clients_hold_up_nobody(server: Server) -> None:
    slow = [server.connect() for _ in range(100)]
    try:
        for connection in slow:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: lo")
        assert server.post(CHAT, ASK)[0] == 200
    finally:
        for connection in slow:
            connection.close()


def test_a_client_that_leaves_stops_its_reply(server: Server) -> None:
    body = json.dumps({**ENDLESS, "max_tokens": 100_000}).encode()
    for half in (False, True):
        with server.connect() as connection:
            connection.sendall(raw_post(body))
            assert connection.recv(100)
            assert server.busy
            if half:
                connection.shutdown(socket.SHUT_WR)
                assert until(lambda: not server.busy)
        assert until(lambda: not server.busy)


def test_clients_that_vanish_at_random_disturb_nobody(server: Server) -> None:
    reference = server.post(CHAT, {"messages": ONCE, "max_tokens": 60, "temperature": 0})[1]
    choose = random.Random(5)
    stop = threading.Event()

    def vanish() -> None:
        body = raw_post(json.dumps({**ENDLESS, "max_tokens": 300}).encode())
        while not stop.is_set():
            with server.connect() as connection:
                connection.sendall(body[: choose.randrange(1, len(body) + 1)])
                if choose.random() < 0.5:
                    connection.settimeout(choose.random() * 0.1 + 0.001)
                    with contextlib.suppress(TimeoutError):
                        connection.recv(choose.randrange(1, 4096))

    threads = [threading.Thread(target=vanish) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            body = {"messages": ONCE, "max_tokens": 60, "temperature": 0}
            assert server.post(CHAT, body)[1]["choices"] == reference["choices"]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert until(lambda: not server.busy)


def test_too_many_requests_are_told_to_come_later(tmp_path: Path) -> None:
    settings = ServerSettings(limits=Limits(parallel=1, queue=1))
    with serving(tmp_path, story_model(tmp_path), settings=settings, n_ctx=1 << 16) as server:
        body = raw_post(json.dumps({**ENDLESS, "max_tokens": 60_000}).encode())
        with server.connect() as first, server.connect() as second:
            first.sendall(body)
            assert first.recv(100)
            second.sendall(body)
            codes: list[int] = []

            def refused() -> bool:
                status, _document, headers = server.ask("POST", CHAT, {**ASK, "stream": True})
                codes.append(status)
                return status == 429 and int(headers["retry-after"]) > 0

            assert until(refused)
            first.close()  # now it is the second's turn
            assert second.recv(100).startswith(b"HTTP/1.1 200")


def test_no_prompt_gets_into_the_log(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "localq.server"):
        secret = {"role": "user", "content": "swordfish"}
        server.post(CHAT, {**ASK, "messages": [secret]})
        server.get("/v1/%1b%5b2Jred%0afake")
        until(lambda: len(caplog.messages) > 1)
    assert "swordfish" not in caplog.text
    assert any("tokens in" in line for line in caplog.messages)
    assert not any("\x1b" in line or "\n" in line for line in caplog.messages)
