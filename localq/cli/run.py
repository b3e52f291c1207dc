"""`localq run [MODEL] -p TEXT`"""

from __future__ import annotations

import sys
from typing import Any

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option, optional_model
from localq.cli.plan_options import plan_options, plan_options_from
from localq.cli.progress import ProgressDisplay
from localq.errors import Cancelled, UsageError
from localq.library import Library
from localq.messages import msg

__all__ = ["command"]


_LONG_LISTS = ("tokens", "logprobs")


@click.command()
@optional_model
@click.option("-p", "--prompt", help="What to say to the model; `-` reads it from stdin.")
@click.option("--max-tokens", type=click.IntRange(1), help="Stop after so many tokens.")
@click.option("--temperature", type=click.FloatRange(0, 10), help="0 always takes the likeliest.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 2), help="Makes the reply repeatable.")
@click.option(
    "--template",
    metavar="FILE|NAME|none",
    help="A chat template instead of the model's own, such as chatml.",
)
@plan_options
@click.option("--force", is_flag=True, help="Try even where the model cannot fit.")
@json_option
def command(
    model: str | None,
    prompt: str | None,
    max_tokens: int | None,
    temperature: float | None,
    seed: int | None,
    template: str | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Let MODEL answer one prompt, streaming to stdout.

    MODEL is a name or a .gguf file; without it, the model pulled, made or used last. Ctrl-C stops
    the reply. `localq plan MODEL` shows what the options would change, and keeps them with --save.
    """
    from localq.services.chat.conversation import Conversation

    text = _prompt(prompt)
    given = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
    wanted = plan_options_from(**options)
    show = (lambda piece: None) if as_json else output.stream
    with (
        Library() as library,
        cancel_on_interrupt() as cancel,
        ProgressDisplay() as emit,
        Conversation.open(
            library,
            model,
            emit=emit,
            plan_options=wanted,
            force=force,
            template=template,
            cancel=cancel,
            owner="run",
        ) as conversation,
    ):
        if conversation.continues_text and sys.stderr.isatty() and not as_json:
            output.prompt(text)
        sampling = conversation.sampling(**given)
        reply = conversation.reply(text, sampling, cancel=cancel, on_text=show)
        n_ctx = conversation.loaded.n_ctx
    if as_json:
        document = output.to_json(reply)
        output.json_document({k: v for k, v in document.items() if k not in _LONG_LISTS})
    elif not reply.text.endswith("\n"):
        output.stream("\n")
    if reply.stop == "cancelled":
        raise Cancelled("stopped")
    if reply.stop == "context":
        output.warn(
            msg(
                "the reply is cut off: the context of {n_ctx:,} tokens is full; --ctx N takes more",
                n_ctx=n_ctx,
            )
        )
    elif reply.stop == "length" and max_tokens is None:
        output.warn(
            msg(
                "the reply is cut off after {max_tokens:,} tokens; --max-tokens N allows more",
                max_tokens=sampling.max_tokens,
            )
        )
    if not as_json and sys.stderr.isatty():
        speed = reply.generated_tokens / reply.generate_seconds if reply.generate_seconds else 0
        output.narrate(
            msg(
                "[{generated_tokens} tokens, {speed:.1f} per second]",
                generated_tokens=reply.generated_tokens,
                speed=speed,
            )
        )


def _prompt(prompt: str | None) -> str:
    if prompt == "-" or (prompt is None and not sys.stdin.isatty()):
        prompt = sys.stdin.read()
    if not prompt:
        raise UsageError(
            msg("nothing to say to the model"),
            hint=msg('localq run -p "Hello", or localq alone to chat'),
        )
    return prompt
