"""The server as a service of the user's own: started at login, and again where it fails."""

from __future__ import annotations

import os
import plistlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from localq.errors import UnsupportedError, storage_errors
from localq.messages import msg

__all__ = ["InstalledUnit", "install_unit", "launchd_agent", "systemd_unit"]

_LABEL = "localq.serve"


@dataclass(frozen=True, slots=True)
class InstalledUnit:
    path: Path
    start: str
    """The command that starts it now and at every login."""


def install_unit(
    command: Sequence[str], environment: Mapping[str, str], home: Path | None = None
) -> InstalledUnit:
    """Write a systemd unit, or a launchd agent on macOS, that only the user can read: it may hold
    a key. StorageError; UnsupportedError on other systems."""
    home = home or Path.home()
    if sys.platform == "darwin":
        path = home / "Library" / "LaunchAgents" / f"{_LABEL}.plist"
        content = launchd_agent(command, environment)
        start = f"launchctl bootstrap gui/{os.getuid()} {path}"
    elif sys.platform.startswith("linux"):
        config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
        path = config / "systemd" / "user" / "localq.service"
        content = systemd_unit(command, environment).encode()
        start = "systemctl --user daemon-reload && systemctl --user enable --now localq"
    else:
        raise UnsupportedError(
            msg("services are installed on Linux and macOS alone"),
            hint=msg("start localq serve from the task scheduler"),
        )
    new = path.with_name(path.name + ".new")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        new.replace(path)
    return InstalledUnit(path, start)


def systemd_unit(command: Sequence[str], environment: Mapping[str, str]) -> str:
    variables = [f"Environment={_quoted(f'{name}={value}')}" for name, value in environment.items()]
    lines = (
        "[Unit]",
        "Description=localq: language models for other programs",
        "",
        "[Service]",
        f"ExecStart={' '.join(_quoted(one, command=True) for one in command)}",
        *variables,
        "Restart=on-failure",
        "TimeoutStopSec=60",
        "",
        "[Install]",
        "WantedBy=default.target",
    )
    return "\n".join(lines) + "\n"


def launchd_agent(command: Sequence[str], environment: Mapping[str, str]) -> bytes:
    agent = {
        "Label": _LABEL,
        "ProgramArguments": list(command),
        "EnvironmentVariables": dict(environment),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ExitTimeOut": 60,
    }
    return plistlib.dumps(agent)


def _quoted(text: str, *, command: bool = False) -> str:
    """For systemd, which reads C's escapes, specifiers, and in commands variables."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    escaped = escaped.replace("\n", "\\n")
    if command:
        escaped = escaped.replace("$", "$$")
    return f'"{escaped}"'
