"""`localq imatrix [MODEL] --text FILE`"""

from __future__ import annotations

from pathlib import Path

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option, optional_model
from localq.cli.progress import ProgressDisplay
from localq.library import Library
from localq.messages import msg

__all__ = ["command"]


@click.command()
@optional_model
@click.option(
    "--text",
    required=True,
    type=click.Path(path_type=Path),
    help="What the model is to read: plain text of the kind it will be used for.",
)
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path),
    help="The file to write; without it, MODEL-imatrix.gguf in the current folder.",
)
@click.option("--chunks", type=click.IntRange(1), help="Read only so many chunks of the text.")
@click.option(
    "--ctx",
    "n_ctx",
    type=click.IntRange(16),
    default=512,
    show_default=True,
    help="Tokens in a chunk.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there already.")
@json_option
def command(
    model: str | None,
    text: Path,
    target: Path | None,
    chunks: int | None,
    n_ctx: int,
    force: bool,
    as_json: bool,
) -> None:
    """Make an importance matrix: let MODEL read a text and record which weights that uses.

    MODEL is a name or a .gguf file, best of type f16 or bf16; without it, the model pulled, made
    or used last. `localq quantize` takes the file as its --imatrix.
    """
    from localq.services.jobs.jobs import recorded
    from localq.services.jobs.kinds.imatrix import ImatrixKind
    from localq.services.make.imatrix import ImatrixRequest

    request = ImatrixRequest(text, model, target, chunks, n_ctx, force)
    with Library() as library, cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
        result = recorded(ImatrixKind(), library, request, emit, cancel)
    if as_json:
        output.json_document(result)
        return
    speed = result.tokens / result.seconds if result.seconds else 0
    output.narrate(
        msg(
            "{entries} tensors, {tokens:,} tokens in {seconds:.1f} s ({speed:,.0f} per second)",
            entries=result.entries,
            tokens=result.tokens,
            seconds=result.seconds,
            speed=speed,
        )
    )
    output.line(str(result.path))
