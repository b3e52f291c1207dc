"""What OpenAI's documents have in common."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from localq.chat_format.message import ToolCall
from localq.engine.client import Generation
from localq.engine.protocol import Stop, TokenLogprob
from localq.server.failure import Failure

__all__ = [
    "chat_logprobs",
    "error_form",
    "finish_reason",
    "new_id",
    "text_logprobs",
    "tool_call",
    "usage",
]


def new_id(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(12)}"


def error_form(failure: Failure) -> tuple[object, str | None]:
    kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
    kinds[429] = "rate_limit_error"
    fallback = "server_error" if failure.status >= 500 else "invalid_request_error"
    error = {
        "message": failure.message,
        "type": kinds.get(failure.status, fallback),
        "param": failure.param,
        "code": failure.code,
    }
    return {"error": error}, None


def finish_reason(stop: Stop, called: bool = False) -> str:
    if called:
        return "tool_calls"
    return "length" if stop in ("length", "context") else "stop"


def usage(done: Sequence[Generation], choices_per_prompt: int = 1) -> dict[str, Any]:
    """Of all replies of a request; those to the same prompt come together, and it counts once."""
    firsts = done[::choices_per_prompt]
    prompt = sum(one.prompt_tokens for one in firsts)
    reply = sum(one.generated_tokens for one in done)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": reply,
        "total_tokens": prompt + reply,
        "prompt_tokens_details": {"cached_tokens": sum(one.reused_tokens for one in firsts)},
    }


def tool_call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id if call.id.startswith("call_") else f"call_{call.id}",
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def chat_logprobs(logprobs: Iterable[TokenLogprob]) -> dict[str, Any]:
    return {
        "content": [{**_one(one), "top_logprobs": [_one(t) for t in one.top]} for one in logprobs]
    }


def text_logprobs(logprobs: Iterable[TokenLogprob], offset: int) -> dict[str, Any]:
    """`offset`: characters of the text before these tokens."""
    found = list(logprobs)
    offsets = []
    for one in found:
        offsets.append(offset)
        offset += len(_text(one))
    return {
        "tokens": [_text(one) for one in found],
        "token_logprobs": [one.logprob for one in found],
        "top_logprobs": [{_text(top): top.logprob for top in one.top} for one in found],
        "text_offset": offsets,
    }


def _one(one: TokenLogprob) -> dict[str, Any]:
    return {"token": _text(one), "logprob": one.logprob, "bytes": list(one.bytes)}


def _text(one: TokenLogprob) -> str:
    return bytes(one.bytes).decode("utf-8", "replace")
