"""Tool calls as they are told: with a name, the text of a JSON object, and an id."""

from __future__ import annotations

import json
import re
import secrets
import string
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from localq.chat_format.message import ToolCall
from localq.chat_format.reply.stream import MalformedError
from localq.chat_format.reply.tools import json_value

__all__ = ["call", "calls_in", "new_id"]

_ID_LENGTH = 9  # what Mistral's templates ask for; nobody asks for anything else
_ID_LETTERS = string.ascii_letters + string.digits
_NAMES = ("name", "tool_name", "function_name", "function")
_ARGUMENTS = ("arguments", "parameters", "args")
_IDS = ("id", "tool_call_id", "call_id")
_NAME = re.compile(r"[\w.:/\-]{1,256}")


def new_id() -> str:
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))


def call(name: str, arguments: Any, id_: str = "") -> ToolCall:
    """MalformedError for a name that is none, or arguments that are no object."""
    name = name.strip()
    if isinstance(arguments, str):  # JSON in JSON
        arguments = json_value(arguments) if arguments.strip() else {}
    if not _NAME.fullmatch(name) or not isinstance(arguments, Mapping):
        raise MalformedError
    try:
        text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        raise MalformedError from None
    return ToolCall(name, text, id_ or new_id())


def calls_in(value: Any, *, keyed: bool = False) -> Iterator[ToolCall]:
    """The calls in what was read as JSON: one, or a list. `keyed`: {name: arguments}."""
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, Mapping):
            raise MalformedError
        id_ = str(_first(item, _IDS, ""))
        if isinstance(inner := item.get("function"), Mapping):
            item = inner
        if keyed:
            if len(item) != 1:
                raise MalformedError
            yield call(*next(iter(item.items())))
            continue
        name = _first(item, _NAMES, None)
        if not isinstance(name, str):
            raise MalformedError
        yield call(name, _first(item, _ARGUMENTS, {}), id_)


def _first(item: Mapping[str, Any], keys: Iterable[str], otherwise: Any) -> Any:
    """What stands under the first of `keys` that there is; null is as good as nothing."""
    return next((item[key] for key in keys if item.get(key) is not None), otherwise)
