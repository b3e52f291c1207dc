"""Options that shape a reply, for every verb that gets one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from localq.errors import BadFileError, NotFoundError
from localq.messages import msg

__all__ = ["reply_options", "sampling_from", "system_option"]

_MAX_FILE = 1 << 20

system_option = click.option("--system", help="The system prompt.")
_OPTIONS = (
    click.option("--max-tokens", type=click.IntRange(1), help="Stop after so many tokens."),
    click.option(
        "--temperature", type=click.FloatRange(0, 10), help="0 always takes the likeliest."
    ),
    click.option("--seed", type=click.IntRange(0, 2**32 - 2), help="Makes the reply repeatable."),
    click.option(
        "--json-schema",
        metavar="FILE|JSON",
        help="The reply is a JSON document that this schema describes.",
    ),
    click.option("--grammar", metavar="FILE", help="The reply is what this GBNF grammar allows."),
    click.option(
        "--think/--no-think",
        default=None,
        help="Whether the model thinks before it answers, where it can be told.",
    ),
    click.option(
        "--effort",
        type=click.Choice(["none", "minimal", "low", "medium", "high"]),
        help="How much the model thinks before it answers, where it can be told.",
    ),
    click.option(
        "--template",
        metavar="FILE|NAME|none",
        help="A chat template instead of the model's own, such as chatml.",
    ),
)

Function = Callable[..., Any]


def reply_options(function: Function) -> Function:
    """The options, in this order; those before `think` are for `sampling_from`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def sampling_from(
    *,
    max_tokens: int | None,
    temperature: float | None,
    seed: int | None,
    json_schema: str | None,
    grammar: str | None,
) -> dict[str, Any]:
    """Fields of SamplingParams; None: not given. NotFoundError and BadFileError for files."""
    if json_schema is not None and not _is_json(json_schema):
        json_schema = _read(Path(json_schema))
    return {
        "max_tokens": max_tokens,
        "temperature": temperature,
        "seed": seed,
        "json_schema": json_schema,
        "grammar": None if grammar is None else _read(Path(grammar)),
    }


def _is_json(text: str) -> bool:
    """Whether it is meant as a schema itself, not as the name of a file with one."""
    return text.lstrip()[:1] in ("{", "[", '"') or text.strip() in ("true", "false", "null")


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
        if len(data) > _MAX_FILE:
            raise BadFileError(path, msg("longer than a megabyte"))
        return data.decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(msg("{path}: no such file", path=path)) from None
    except OSError as error:
        raise BadFileError(
            path, msg("cannot be read: {strerror}", strerror=error.strerror or error)
        ) from error
    except UnicodeDecodeError as error:
        raise BadFileError(path, msg("not valid UTF-8"), offset=error.start) from None
