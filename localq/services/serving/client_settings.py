"""What other programs have to be told, so that they speak to localq's server."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from localq.errors import NotFoundError, UsageError
from localq.messages import Message, msg

__all__ = ["PROGRAMS", "ClientSettings", "ServerAddress", "client_settings", "server_base"]


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """`url` has no path; `n_ctx`: tokens of the model's context."""

    url: str
    model: str
    api_key: str
    n_ctx: int


@dataclass(frozen=True, slots=True)
class ClientSettings:
    where: Message
    """Where the text belongs."""
    text: str


def server_base(url: str) -> str:
    """The address without the path that clients add themselves; UsageError where it is none."""
    try:
        parts = urlsplit(url.strip())
        port_is_right = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_right = urlsplit(""), False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_right:
        raise UsageError(
            msg("{url!r} is not the address of a server", url=url[:80]),
            hint=msg("such as --url http://127.0.0.1:11435"),
        )
    if parts.query or parts.fragment or not url.strip().isprintable() or " " in url.strip():
        raise UsageError(
            msg("{url!r} is more than the address of a server", url=url[:80]),
            hint=msg("such as --url http://127.0.0.1:11435"),
        )
    return url.strip().rstrip("/").removesuffix("/v1")


def client_settings(program: str, server: ServerAddress) -> ClientSettings:
    """NotFoundError for a program that is not among PROGRAMS."""
    make = PROGRAMS.get(program)
    if make is None:
        raise NotFoundError(
            msg("nothing is known of a program {name!r}", name=program),
            hint=msg("one of: {names}", names=", ".join(PROGRAMS)),
        )
    return make(server)


def _open_webui(server: ServerAddress) -> ClientSettings:
    variables = {
        "OPENAI_API_BASE_URL": f"{server.url}/v1",
        "OPENAI_API_KEY": server.api_key,
        "ENABLE_OLLAMA_API": "false",
    }
    return ClientSettings(msg("variables of its environment"), _exports(variables))


def _continue(server: ServerAddress) -> ClientSettings:
    base = json.dumps(f"{server.url}/v1")
    lines = (
        "name: localq",
        "version: 1.0.0",
        "schema: v1",
        "models:",
        f"  - name: {json.dumps(server.model)}",
        "    provider: openai",
        f"    model: {json.dumps(server.model)}",
        f"    apiBase: {base}",
        f"    apiKey: {json.dumps(server.api_key)}",
        "    roles: [chat, edit, apply]",
        "    defaultCompletionOptions:",
        f"      contextLength: {server.n_ctx}",
    )
    return ClientSettings(msg("in {file}", file="~/.continue/config.yaml"), "\n".join(lines))


def _zed(server: ServerAddress) -> ClientSettings:
    model = {"name": server.model, "display_name": server.model, "max_tokens": server.n_ctx}
    provider = {"api_url": f"{server.url}/v1", "available_models": [model]}
    settings = {"language_models": {"openai_compatible": {"localq": provider}}}
    where = msg("in {file}", file="~/.config/zed/settings.json")
    return ClientSettings(where, json.dumps(settings, indent=2, ensure_ascii=False))


def _cline(server: ServerAddress) -> ClientSettings:
    lines = (
        "API Provider: OpenAI Compatible",
        f"Base URL: {server.url}/v1",
        f"API Key: {server.api_key}",
        f"Model ID: {server.model}",
        f"Context Window Size: {server.n_ctx}",
    )
    return ClientSettings(msg("in its settings"), "\n".join(lines))


def _codex(server: ServerAddress) -> ClientSettings:
    lines = (
        f"model = {json.dumps(server.model)}",
        'model_provider = "localq"',
        f"model_context_window = {server.n_ctx}",
        "",
        "[model_providers.localq]",
        'name = "localq"',
        f"base_url = {json.dumps(server.url + '/v1')}",
        'wire_api = "responses"',
        f"experimental_bearer_token = {json.dumps(server.api_key)}",
    )
    return ClientSettings(msg("in {file}", file="~/.codex/config.toml"), "\n".join(lines))


def _claude_code(server: ServerAddress) -> ClientSettings:
    variables = {
        "ANTHROPIC_BASE_URL": server.url,
        "ANTHROPIC_AUTH_TOKEN": server.api_key,
        "ANTHROPIC_MODEL": server.model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": server.model,
    }
    return ClientSettings(msg("variables of its environment"), _exports(variables))


def _langchain(server: ServerAddress) -> ClientSettings:
    lines = (
        "from langchain_openai import ChatOpenAI",
        "",
        "chat = ChatOpenAI(",
        f"    base_url={server.url + '/v1'!r},",
        f"    api_key={server.api_key!r},",
        f"    model={server.model!r},",
        ")",
    )
    return ClientSettings(msg("in Python"), "\n".join(lines))


def _openai(server: ServerAddress) -> ClientSettings:
    variables = {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": server.api_key}
    return ClientSettings(msg("variables of its environment"), _exports(variables))


PROGRAMS: Mapping[str, Callable[[ServerAddress], ClientSettings]] = {
    "open-webui": _open_webui,
    "continue": _continue,
    "zed": _zed,
    "cline": _cline,
    "codex": _codex,
    "claude-code": _claude_code,
    "langchain": _langchain,
    "openai": _openai,
}


def _exports(variables: Mapping[str, str]) -> str:
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())
