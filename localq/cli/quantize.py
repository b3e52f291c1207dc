"""`localq quantize TYPE [MODEL]`"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from localq.cli import output
from localq.cli.consent import consent_by
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.made import report_made
from localq.cli.options import json_option, optional_model
from localq.cli.progress import ProgressDisplay
from localq.display import byte_size
from localq.errors import StorageError, UsageError
from localq.library import Library
from localq.messages import msg
from localq.services.make.preflight import Preflight, preflight
from localq.services.make.quantize import QuantizeRequest
from localq.services.make.split_size import parse_split_size

__all__ = ["command"]

_FILE = click.Path(path_type=Path)
_INT4_METHODS = ("awq", "gptq")


class _ByType(click.Command):
    """AWQ and GPTQ, which are no types of llama.cpp, have a command with options of their own."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        if args and args[0].lower() in _INT4_METHODS:
            from localq.cli.help import in_users_language
            from localq.cli.quantize_int4 import int4_command

            method, *rest = args
            chosen = in_users_language(int4_command(method.lower()))
            return chosen.make_context(f"{info_name} {method.lower()}", rest, parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.command(cls=_ByType)
@click.argument("type_", metavar="[TYPE]", required=False)
@optional_model
@click.option("-o", "--output", "target", type=_FILE, help="Write the file here, not the library.")
@click.option("--force", is_flag=True, help="Replace a file that is there already.")
@click.option("--imatrix", type=_FILE, help="Weigh errors by this importance matrix.")
@click.option(
    "--tensor-type",
    "rules",
    multiple=True,
    metavar="PATTERN=TYPE",
    help="Another type for tensors whose name the regular expression matches; may be repeated.",
)
@click.option("--output-type", metavar="TYPE", help="The type of the output tensor.")
@click.option("--embedding-type", metavar="TYPE", help="The type of the token embeddings.")
@click.option("--pure", is_flag=True, help="No mixture: every tensor in the same type.")
@click.option("--allow-requantize", is_flag=True, help="Quantize again what is quantized already.")
@click.option(
    "--split-max-size",
    metavar="SIZE",
    help="Cut the output into files of at most this size, such as 4G or 500M.",
)
@click.option(
    "--with",
    "converter",
    type=click.Choice(["localq", "llama.cpp"]),
    default="localq",
    help="Whose converter reads the checkpoint; llama.cpp's knows more architectures.",
)
@click.option("--no-mmproj", is_flag=True, help="Without the projector of a model that sees.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before downloading a converter.")
@click.option("--detach", is_flag=True, help="Work in the background; see localq jobs.")
@click.option("--dry-run", is_flag=True, help="Check everything and say what would come out.")
@json_option
def command(
    type_: str | None,
    model: str | None,
    target: Path | None,
    force: bool,
    imatrix: Path | None,
    rules: tuple[str, ...],
    output_type: str | None,
    embedding_type: str | None,
    pure: bool,
    allow_requantize: bool,
    split_max_size: str | None,
    converter: str,
    no_mmproj: bool,
    yes: bool,
    detach: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Convert a checkpoint to GGUF and quantize it, in one pass.

    TYPE is q4_0, q5_1, q8_0, q4_k_m, f16, bf16, f32 or any other type of llama.cpp. MODEL is a
    model of the library, a checkpoint folder or a .gguf file; without it, the model pulled or
    used last. Without TYPE too: what the recipe (localq.toml) in this folder says. Stopped or
    killed, the same command goes on where it was.

    `localq quantize gptq` and `awq` make INT4 checkpoints instead; they have a --help of their own.
    """
    from localq.formats.types import QuantType, TensorType
    from localq.quantize.options import parse_type_rule
    from localq.services.jobs.jobs import recorded
    from localq.services.jobs.kinds.quantize import QuantizeKind

    given = _by_recipe() if type_ is None else QuantizeRequest(QuantType.parse(type_), model)
    request = replace(
        given,
        output=target,
        force=force,
        imatrix=imatrix or given.imatrix,
        rules=(*(parse_type_rule(rule) for rule in rules), *given.rules),
        output_type=TensorType.parse(output_type) if output_type else given.output_type,
        embedding_type=TensorType.parse(embedding_type) if embedding_type else given.embedding_type,
        pure=pure or given.pure,
        allow_requantize=allow_requantize,
        split_bytes=parse_split_size(split_max_size) if split_max_size else None,
        with_llama_cpp=converter == "llama.cpp",
        projector=not no_mmproj,
    )
    if dry_run:
        _dry_run(request, as_json)
        return
    if detach:
        from localq.cli.jobs import report_detached
        from localq.services.jobs.detach import start_detached

        with Library() as library:
            job = start_detached(library, request, agreed=yes)
        report_detached(job, as_json=as_json)
        return
    with Library() as library, cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
        consent = consent_by(yes=yes)
        result = recorded(QuantizeKind(), library, request, emit, cancel, consent, agreed=yes)
    report_made(result, as_json=as_json)


def _by_recipe() -> QuantizeRequest:
    from localq.services.make.quantize_request import request_by_recipe
    from localq.services.pull.pull import recipe_here

    recipe = recipe_here()
    if recipe is None:
        raise UsageError(
            msg("which TYPE? There is no recipe (localq.toml) in this folder that says"),
            hint=msg("for example: localq quantize q4_k_m"),
        )
    return request_by_recipe(recipe)


def _dry_run(request: QuantizeRequest, as_json: bool) -> None:
    with Library() as library:
        found = preflight(library, request)
    if as_json:
        output.json_document(found)
    else:
        _print(found)
    if found.problems:
        raise StorageError(msg("{path}: {problems}", path=found.path, problems=found.problems[0]))


def _print(found: Preflight) -> None:
    types = ", ".join(f"{count} {name}" for name, count in found.tensor_types.items())
    for label, value in (
        (msg("source"), found.source),
        (msg("would write"), str(found.path)),
        (
            msg("size"),
            msg(
                "{size_bytes:,} bytes ({size_bytes2})",
                size_bytes=found.size_bytes,
                size_bytes2=byte_size(found.size_bytes),
            ),
        ),
        (msg("architecture"), found.architecture),
        (msg("parameters"), f"{found.parameters:,}"),
        (msg("tensors"), types),
        (msg("tokenizer"), found.tokenizer),
        (msg("chat template"), found.chat_template),
        (msg("disk free"), byte_size(found.free_disk_bytes)),
    ):
        output.field(label, value)
    for warning in found.warnings:
        output.warn(warning)
