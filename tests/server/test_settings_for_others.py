"""Settings for other programs, and the server as a service."""

from __future__ import annotations

import json
import plistlib
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from localq.cli.main import main
from localq.errors import UsageError
from localq.services.serving.client_settings import (
    PROGRAMS,
    ServerAddress,
    client_settings,
    server_base,
)
from localq.services.serving.service_unit import launchd_agent, systemd_unit

ODD = ServerAddress("http://127.0.0.1:1", 'an org/it\'s "odd" $(x):Q4_0', "k'e\"y", 4096)


def variables(text: str) -> dict[str, str]:
    words = [shlex.split(line) for line in text.splitlines()]
    assert all(word[0] == "export" and len(word) == 2 for word in words)
    return dict(word[1].split("=", 1) for word in words)


def test_settings_have_the_shape_that_programs_read() -> None:
    found = {name: client_settings(name, ODD).text for name in PROGRAMS}
    assert variables(found["open-webui"])["OPENAI_API_KEY"] == ODD.api_key
    assert variables(found["claude-code"])["ANTHROPIC_MODEL"] == ODD.model
    assert variables(found["claude-code"])["ANTHROPIC_BASE_URL"] == ODD.url
    assert variables(found["openai"])["OPENAI_BASE_URL"] == "http://127.0.0.1:1/v1"
    codex = tomllib.loads(found["codex"])
    assert codex["model"] == ODD.model
    assert codex["model_providers"][codex["model_provider"]]["wire_api"] == "responses"
    (zed,) = json.loads(found["zed"])["language_models"]["openai_compatible"].values()
    assert zed["available_models"][0]["max_tokens"] == 4096
    assert f"Model ID: {ODD.model}" in found["cline"]
    compile(found["langchain"], "settings", "exec")
    yaml = pytest.importorskip("yaml")
    (model,) = yaml.safe_load(found["continue"])["models"]
    assert (model["model"], model["apiKey"]) == (ODD.model, ODD.api_key)


def test_units_keep_arguments_as_they_are() -> None:
    command = ["/usr/bin/py thon", "-m", "localq", 'a"b', "50%", "$HOME", "back\\slash"]
    unit = systemd_unit(command, {"LOCALQ_API_KEY": "s p%"})
    (start,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    assert '"50%%"' in start
    assert '"$$HOME"' in start
    assert '"a\\"b"' in start
    assert '"back\\\\slash"' in start
    assert 'Environment="LOCALQ_API_KEY=s p%%"' in unit
    agent = plistlib.loads(launchd_agent(command, {"A": "b"}))
    assert agent["ProgramArguments"] == command
    assert agent["EnvironmentVariables"] == {"A": "b"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="systemd is Linux's")
def test_the_key_is_in_a_file_of_the_users_own(
    home: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    arguments = ["serve", "demo", "--install", "--api-key", "s3cret", "--parallel", "2"]
    assert main([*arguments, "--ctx", "512", "--keep", "--allow-origin", "https://a"]) == 0
    path = tmp_path / "config" / "systemd" / "user" / "localq.service"
    unit = path.read_text()
    (start,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    words = shlex.split(start.removeprefix("ExecStart="))
    assert words[3:5] == ["serve", "demo"]
    assert " ".join(sorted(words[5:])) == "--allow-origin --ctx --keep --parallel 2 512 https://a"
    assert "s3cret" not in start
    assert 'Environment="LOCALQ_API_KEY=s3cret"' in unit
    assert path.stat().st_mode & 0o077 == 0
    assert "systemctl --user" in capsys.readouterr().out


def test_programs_are_listed(home: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["open"]) == 0
    assert capsys.readouterr().out.split() == list(PROGRAMS)
    assert main(["open", "emacs"]) == 1
    assert "open-webui" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:11435", "http://127.0.0.1:11435"),
        ("https://box.local/v1/", "https://box.local"),
        (" http://[::1]:8080/ ", "http://[::1]:8080"),
        ("https://box/llm/v1", "https://box/llm"),
        ("junk", None),
        ("", None),
        ("ftp://box", None),
        ("http://", None),
        ("http://box:port", None),
        ("http://box:0", None),
        ("http://box/?a=b", None),
        ("http://box/a b", None),
        ("http://box/\x1b[31m", None),
    ],
)
def test_the_address_of_a_server(url: str, base: str | None) -> None:
    if base is not None:
        assert server_base(url) == base
        return
    with pytest.raises(UsageError):
        server_base(url)
