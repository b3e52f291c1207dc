"""`localq quantize TYPE [MODEL]`"""

from __future__ import annotations

from pathlib import Path

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option, optional_model
from localq.cli.progress import ProgressDisplay
from localq.library import Library

__all__ = ["command"]


@click.command(short_help="Convert a checkpoint to GGUF and quantize it.")
@click.argument("type_", metavar="TYPE")
@optional_model
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path),
    help="Write the file here instead of into the library.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there already.")
@json_option
def command(type_: str, model: str | None, target: Path | None, force: bool, as_json: bool) -> None:
    """Convert a checkpoint to GGUF and quantize it, in one pass.

    TYPE is q4_0, q5_1, q8_0, q4_k_m, f16, bf16, f32 or any other type of llama.cpp. MODEL is a
    model of the library or a checkpoint folder; without it, the model pulled or used last.
    """
    from localq.formats.types import QuantType
    from localq.services.quantize import QuantizeRequest, quantize

    request = QuantizeRequest(QuantType.parse(type_), model, target, force)
    with Library() as library, cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
        result = quantize(library, request, emit, cancel)
    if as_json:
        output.json_document(result)
        return
    if not result.already_there:
        output.narrate(f"{output.byte_count(result.size_bytes)} in {result.seconds:.1f} s")
    output.line(str(result.name or result.path))
