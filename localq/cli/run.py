"""`localq run [MODEL] [-p TEXT]`"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option, optional_model
from localq.cli.plan_options import plan_options, plan_options_from
from localq.cli.progress import ProgressDisplay
from localq.cli.reply_options import reply_options, sampling_from, system_option
from localq.cli.stdin_text import stdin_text
from localq.errors import Cancelled, UsageError
from localq.library import Library
from localq.messages import msg

if TYPE_CHECKING:
    from localq.chat_format.message import Picture
    from localq.engine.client import Generation
    from localq.services.chat.conversation import Conversation
    from localq.sessions import Attachment, Preset

__all__ = ["command"]


_LONG_LISTS = ("tokens", "logprobs")
_SAMPLING = ("max_tokens", "temperature", "seed", "json_schema", "grammar")


@click.command()
@optional_model
@click.option("-p", "--prompt", help="What to say to the model; `-` reads it from stdin.")
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="FILE",
    help="A text file that goes with the prompt; `-` reads it from stdin.",
)
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A picture that goes with the prompt: PNG, JPEG, GIF or BMP.",
)
@system_option
@click.option("--preset", metavar="NAME", help="Answer as this preset says; see `localq presets`.")
@reply_options
@click.option("--raw", is_flag=True, help="The model goes on with the prompt as it stands.")
@click.option(
    "--logprobs",
    type=click.IntRange(0, 100),
    metavar="N",
    help="With --json: the log probability of each token and of the N likeliest.",
)
@plan_options
@click.option("--force", is_flag=True, help="Try even where the model cannot fit.")
@json_option
def command(
    model: str | None,
    prompt: str | None,
    files: tuple[str, ...],
    images: tuple[Path, ...],
    system: str | None,
    preset: str | None,
    think: bool | None,
    effort: str | None,
    template: str | None,
    raw: bool,
    logprobs: int | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Let MODEL answer one prompt, streaming to stdout.

    MODEL is a name or a .gguf file; without it, the model pulled, made or used last. Ctrl-C stops
    the reply. stdin is read where it is asked for with `-`, or where there is no prompt; on a
    terminal without a prompt this is `localq chat`. `localq plan MODEL` shows what the options
    would change, and keeps them with --save.
    """
    given = sampling_from(**{name: options.pop(name) for name in _SAMPLING})
    wanted = plan_options_from(**options)
    if logprobs is not None and not as_json:
        raise UsageError(msg("--logprobs is for programs"), hint=msg("add --json"))
    if raw and (template is not None or system is not None):
        raise UsageError(msg("--raw takes neither a template nor a system prompt"))
    from localq.chat_format.message import Picture
    from localq.formats.picture import read_picture

    with Library() as library:
        chosen = _preset(library, preset, system)
        _check(chosen, given)
        if prompt is None and "-" not in files and not as_json and _is_terminal():
            from localq.cli.chat import chat_with

            chat_with(
                library,
                model,
                preset=chosen,
                files=files,
                images=images,
                given=given,
                wanted=wanted,
                template="none" if raw else template,
                think=think,
                effort=effort,
                force=force,
            )
            return
        pictures = [Picture(read_picture(image)) for image in images]
        text, attachments = _asked(prompt, files)
        _run(
            library,
            model,
            text,
            attachments,
            pictures,
            preset=chosen,
            given={**given, "logprobs": logprobs},
            as_json=as_json,
            plan_options=wanted,
            force=force,
            think=think,
            effort=effort,
            template="none" if raw else template,
        )


def _run(
    library: Library,
    model: str | None,
    text: str,
    attachments: list[Attachment],
    pictures: list[Picture],
    *,
    preset: Preset,
    given: dict[str, Any],
    as_json: bool,
    **loading: Any,
) -> None:
    from localq.services.chat.conversation import Conversation
    from localq.services.chat.presets import sampling_given
    from localq.sessions.attachments import with_attachments

    show = (lambda piece: None) if as_json else output.stream
    with (
        cancel_on_interrupt() as cancel,
        ProgressDisplay() as emit,
        Conversation.open(
            library,
            model,
            emit=emit,
            system=preset.system or None,
            cancel=cancel,
            owner="run",
            **loading,
        ) as conversation,
    ):
        for attachment in attachments:
            _say_cost(conversation, attachment)
        text = with_attachments(text, attachments)
        if conversation.continues_text and sys.stderr.isatty() and not as_json:
            output.prompt(text)
        sampling = conversation.sampling(**sampling_given(preset, given))
        thinks = output.thought if sys.stderr.isatty() and not as_json else None
        reply = conversation.reply(
            text,
            sampling,
            pictures=pictures,
            cancel=cancel,
            on_text=show,
            on_reasoning=thinks,
        )
        said = conversation.messages[-1] if reply.text else None
        n_ctx = conversation.loaded.n_ctx
    if as_json:
        document = output.to_json(reply)
        if said and said.reasoning:
            document |= {"text": said.content, "reasoning": said.reasoning}
        left_out = _LONG_LISTS if given["logprobs"] is None else ("tokens",)
        output.json_document({k: v for k, v in document.items() if k not in left_out})
    elif not reply.text.endswith("\n"):
        output.stream("\n")
    _report(reply, n_ctx, sampling.max_tokens, limited=given["max_tokens"] is not None)
    if not as_json and sys.stderr.isatty():
        speed = reply.generated_tokens / reply.generate_seconds if reply.generate_seconds else 0
        if reply.draft_tokens:
            text = msg(
                "[{generated_tokens} tokens, {speed:.1f} per second; {accepted} of {drafted}"
                " guesses were right]",
                generated_tokens=reply.generated_tokens,
                speed=speed,
                accepted=reply.accepted_tokens,
                drafted=reply.draft_tokens,
            )
        else:
            text = msg(
                "[{generated_tokens} tokens, {speed:.1f} per second]",
                generated_tokens=reply.generated_tokens,
                speed=speed,
            )
        output.narrate(text)


def _report(reply: Generation, n_ctx: int, max_tokens: int, *, limited: bool) -> None:
    """Whether it is whole. Cancelled."""
    if reply.stop == "cancelled":
        raise Cancelled("stopped")
    if reply.stop == "context":
        output.warn(
            msg(
                "the reply is cut off: the context of {n_ctx:,} tokens is full; --ctx N takes more",
                n_ctx=n_ctx,
            )
        )
    elif reply.stop == "length" and not limited:
        output.warn(
            msg(
                "the reply is cut off after {max_tokens:,} tokens; --max-tokens N allows more",
                max_tokens=max_tokens,
            )
        )


def _check(preset: Preset, given: dict[str, Any]) -> None:
    from localq.services.chat.presets import check_reply_settings

    check_reply_settings(preset, given)


def _preset(library: Library, name: str | None, system: str | None) -> Preset:
    from dataclasses import replace

    from localq.services.chat.presets import preset_named
    from localq.sessions.preset import DEFAULT

    preset = DEFAULT if name is None else preset_named(library.paths, name)
    return preset if system is None else replace(preset, system=system)


def _asked(prompt: str | None, files: tuple[str, ...]) -> tuple[str, list[Attachment]]:
    """The prompt and what goes with it. stdin is read once at most, and only where it is asked
    for or there is nothing else to say."""
    from localq.sessions.attachments import MAX_ATTACHMENT, decode_attachment, read_attachment

    wants_stdin = [*(["-p"] if prompt == "-" else []), *(file for file in files if file == "-")]
    if len(wants_stdin) > 1:
        raise UsageError(msg("stdin can be read only once"), hint=msg("name a file instead of -"))
    attachments = [
        decode_attachment("stdin", sys.stdin.buffer.read(MAX_ATTACHMENT + 1))
        if file == "-"
        else read_attachment(Path(file))
        for file in files
    ]
    if prompt == "-" or (prompt is None and not attachments and not sys.stdin.isatty()):
        prompt = stdin_text()
    if not prompt and not attachments:
        raise UsageError(
            msg("nothing to say to the model"),
            hint=msg('localq run -p "Hello", or localq chat'),
        )
    return prompt or "", attachments


def _say_cost(conversation: Conversation, attachment: Attachment) -> None:
    output.narrate(
        msg(
            "{name}: {tokens:,} tokens of {n_ctx:,}",
            name=attachment.name,
            tokens=conversation.count(attachment.content),
            n_ctx=conversation.loaded.n_ctx,
        )
    )


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()
