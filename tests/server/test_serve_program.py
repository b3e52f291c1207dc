"""`localq serve` as a program: TLS, a key that is made, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from localq.cli.main import main
from localq.paths import Paths
from tests.server.serving import story_model

_LISTENING = re.compile(r"listening on (https?)://([\w.:\[\]]+?):(\d+) ")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="ends by SIGTERM")


@contextmanager
def program(home: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int, list[str]]]:
    """The running program, its port, and what it said until it listened."""
    command = [sys.executable, "-m", "localq", "serve", "--port", "0", "--ctx", "512", *arguments]
    environment = {**os.environ, "LOCALQ_HOME": str(home)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr
        said = []
        for line in process.stderr:
            said.append(line)
            if found := _LISTENING.search(line):
                break
        assert found, said
        if arguments[-1] == "0.0.0.0":
            said.append(process.stderr.readline())
        yield process, int(found[3]), said
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_sigterm_lets_what_runs_be_answered(tmp_path: Path) -> None:
    with program(tmp_path, story_model(tmp_path)) as (process, port, _):
        asked = {"messages": [{"role": "user", "content": "Once"}], "ignore_eos": True}
        body = json.dumps({**asked, "stream": True, "max_tokens": 400}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", body)
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.readline()
            process.send_signal(signal.SIGTERM)
            rest = answer.read()
        assert rest.rstrip().endswith(b"data: [DONE]")
        assert process.wait(30) == 0
        with pytest.raises(OSError, match=r"refused|reset"):
            socket.create_connection(("127.0.0.1", port), timeout=5)


@pytest.mark.slow
def test_beyond_this_machine_a_key_is_made(tmp_path: Path) -> None:
    with program(tmp_path, "--host", "0.0.0.0") as (_, port, said):
        key = said[-1].split()[-1]
        assert len(key) > 30
        url = f"http://127.0.0.1:{port}/v1/models"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(url)
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request) as answer:
            assert json.load(answer)["object"] == "list"


@pytest.mark.slow
def test_tls(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    openssl += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    try:
        made = [*openssl, "-keyout", str(key), "-out", str(cert)]
        subprocess.run(made, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl to make a certificate with")
    with program(tmp_path, "--tls-cert", str(cert), "--tls-key", str(key)) as (_, port, _):
        trust = ssl.create_default_context(cafile=str(cert))
        with urllib.request.urlopen(f"https://127.0.0.1:{port}/health", context=trust) as answer:
            assert json.load(answer) == {"status": "ok"}


def test_a_port_that_is_taken(home: Paths, capsys: Any) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        assert main(["serve", "--port", str(other.getsockname()[1])]) == 2
    said = capsys.readouterr().err
    assert "cannot listen on 127.0.0.1" in said
    assert main(["serve", "--tls-cert", __file__]) == 2
    assert main(["serve", "nothing-of-that-name", "--port", "0"]) == 1
