"""`localq convert [MODEL]`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from localq.cli.consent import consent_by
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.made import report_made
from localq.cli.options import json_option, optional_model
from localq.cli.progress import ProgressDisplay
from localq.errors import UsageError
from localq.library import Library
from localq.messages import msg

if TYPE_CHECKING:
    from localq.services.make.projector import ProjectorRequest

__all__ = ["command"]


@click.command()
@optional_model
@click.option(
    "--to", "type_", metavar="TYPE", help="bf16, f16, f32; with llama.cpp also q8_0, tq1_0, tq2_0."
)
@click.option(
    "--with",
    "converter",
    type=click.Choice(["localq", "llama.cpp"]),
    default="localq",
    help="Whose converter to use; llama.cpp's knows more architectures.",
)
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path),
    help="Write the file here instead of into the library.",
)
@click.option(
    "--mmproj/--no-mmproj",
    default=None,
    help="The projector alone, which lets a model see; or the model without it.",
)
@click.option("--merge", is_flag=True, help="Of an adapter: merge it into its base model.")
@click.option("--base", metavar="MODEL", help="Of an adapter: the model it was trained on.")
@click.option("--force", is_flag=True, help="Replace a file that is there already.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before downloading the converter.")
@json_option
def command(
    model: str | None,
    type_: str | None,
    converter: str,
    target: Path | None,
    mmproj: bool | None,
    merge: bool,
    base: str | None,
    force: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Convert a checkpoint to GGUF in the type it is in, or the one that --to names.

    MODEL is a model of the library or a checkpoint folder; without it, the model pulled or used
    last. A model that sees pictures comes with its projector, a file of its own (F16). An
    adapter's folder becomes a GGUF adapter, or with --merge a model of its own, in any type.
    --with llama.cpp sets up llama.cpp's own converter the first time: it says what has to be
    downloaded and asks.
    """
    from localq.formats.types import QuantType
    from localq.services.jobs.jobs import recorded
    from localq.services.jobs.kinds.convert import ConvertKind
    from localq.services.make.adapter import (
        AdapterRequest,
        adapter_at,
        convert_adapter_folder,
    )
    from localq.services.make.convert import ConvertRequest, ConvertWith
    from localq.services.make.projector import ProjectorRequest

    wanted = None if type_ is None else QuantType.parse(type_)
    if folder := adapter_at(model):
        of_adapter = AdapterRequest(folder, base, merge, wanted, target, force)
        with Library() as library, cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
            made = convert_adapter_folder(library, of_adapter, emit, cancel)
        report_made(made, as_json=as_json)
        return
    if merge or base:
        raise UsageError(
            msg("{model} is no adapter's folder", model=model or "the model"),
            hint=msg("--merge and --base go with a folder that has an adapter_config.json"),
        )
    if mmproj:
        _projector_alone(ProjectorRequest(model, wanted, target, force), as_json=as_json)
        return
    request = ConvertRequest(
        wanted, model, target, force, ConvertWith(converter), projector=mmproj is None
    )
    with Library() as library, cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
        consent = consent_by(yes=yes)
        result = recorded(ConvertKind(), library, request, emit, cancel, consent, agreed=yes)
    report_made(result, as_json=as_json)


def _projector_alone(request: ProjectorRequest, *, as_json: bool) -> None:
    from localq.services.make.projector import convert_projector_alone

    with Library() as library, cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
        made = convert_projector_alone(library, request, emit, cancel)
    report_made(made, as_json=as_json)
