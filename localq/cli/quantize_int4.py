"""`localq quantize awq|gptq [MODEL]`"""

from __future__ import annotations

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option, optional_model
from localq.cli.progress import ProgressDisplay
from localq.display import byte_size
from localq.library import Library
from localq.messages import msg
from localq.services.int4.plan import preflight_int4
from localq.services.int4.request import Int4Request, Int4Result
from localq.services.make.split_size import parse_split_size

__all__ = ["int4_command"]


def int4_command(method: str) -> click.Command:
    """The command of "awq" or "gptq"."""
    made = click.Command(
        method,
        params=[*_command.params],
        callback=lambda **given: _run(method, **given),
        help=_command.help,
    )
    made.context_settings = _command.context_settings
    return made


@click.command()
@optional_model
@click.option("--bits", type=int, default=4, help="GPTQ: 2, 3, 4 or 8. AWQ: 4.")
@click.option(
    "--group-size",
    type=int,
    default=128,
    help="So many weights share a scale; smaller is better and larger on disk. -1: whole rows.",
)
@click.option(
    "--desc-act/--no-desc-act",
    default=False,
    help="GPTQ: take columns by how active they are: a little better, and slower in vLLM.",
)
@click.option("--damp-percent", type=float, default=0.05, help="GPTQ: damping of its Hessian.")
@click.option("--sym/--no-sym", default=None, help="GPTQ: symmetric, as vLLM wants it.")
@click.option("--zero-point/--no-zero-point", default=None, help="AWQ: with zero points.")
@click.option(
    "--keep",
    multiple=True,
    metavar="PATTERN",
    help="Leave modules that match in float16, such as self_attn; may be repeated.",
)
@click.option(
    "--calib",
    metavar="NAME|FILE|DIR",
    help="Text to calibrate with: wikitext2 (default), c4, builtin, or *.txt, *.jsonl, *.parquet.",
)
@click.option("--calib-field", default="text", help="The field of *.jsonl and *.parquet.")
@click.option(
    "--calib-samples",
    type=int,
    help="How many samples: AWQ 128, GPTQ 512 (128 on a processor); up to 1,024 may help.",
)
@click.option("--calib-length", type=int, default=512, help="Tokens of each sample.")
@click.option("--shard-size", default="4G", metavar="SIZE", help="Largest file of weights.")
@click.option("--seed", type=int, default=0, help="Which parts of the text are the samples.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cuda", "cpu"]),
    default="auto",
    help="Where to compute; cpu is for small models.",
)
@click.option("--backend", default="gptqmodel", help="The library that does it.")
@click.option("--force", is_flag=True, help="Replace a checkpoint that is there already.")
@click.option("--detach", is_flag=True, help="Work in the background; see localq jobs.")
@click.option("--dry-run", is_flag=True, help="Check everything and say what it would take.")
@json_option
def _command() -> None:
    """Quantize a checkpoint to INT4 by AWQ or GPTQ, for vLLM and transformers.

    MODEL is a checkpoint of the library or a folder; without it, that of the model used last. The
    work is done by a library in an environment of its own (localq backend install gptqmodel), on
    a CUDA GPU, or for small models with --device cpu.
    """


def _run(
    method: str,
    *,
    model: str | None,
    bits: int,
    group_size: int,
    desc_act: bool,
    damp_percent: float,
    sym: bool | None,
    zero_point: bool | None,
    keep: tuple[str, ...],
    calib: str | None,
    calib_field: str,
    calib_samples: int | None,
    calib_length: int,
    shard_size: str,
    seed: int,
    device: str,
    backend: str,
    force: bool,
    detach: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    from localq.errors import UsageError
    from localq.gpu_quant.options import Method

    if sym is not None and zero_point is not None and sym == zero_point:
        raise UsageError(
            msg("--sym and --zero-point are opposites"), hint=msg("leave out one of them")
        )
    request = Int4Request(
        Method(method),
        model,
        bits=bits,
        group_size=group_size,
        desc_act=desc_act,
        damp_percent=damp_percent,
        symmetric=sym if sym is not None else None if zero_point is None else not zero_point,
        keep=keep,
        calib=calib,
        calib_field=calib_field,
        calib_samples=calib_samples,
        calib_length=calib_length,
        shard_bytes=parse_split_size(shard_size),
        seed=seed,
        device=device,
        backend=backend,
        force=force,
    )
    request.options()  # what does not go together is said first
    if dry_run:
        _dry_run(request, as_json=as_json)
        return
    if detach:
        from localq.cli.jobs import report_detached
        from localq.services.jobs.detach import start_detached

        with Library() as library:
            job = start_detached(library, request)
        report_detached(job, as_json=as_json)
        return
    from localq.services.jobs.jobs import recorded
    from localq.services.jobs.kinds.int4 import Int4Kind

    with Library() as library, cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
        result = recorded(Int4Kind(), library, request, emit, cancel)
    _report(result, as_json=as_json)


def _report(result: Int4Result, *, as_json: bool) -> None:
    if as_json:
        output.json_document(result)
        return
    if not result.already_there:
        size = byte_size(result.size_bytes)
        output.narrate(msg("{size} in {seconds:.1f} s", size=size, seconds=result.seconds))
    if result.perplexity is not None and result.original_perplexity is not None:
        output.narrate(
            msg(
                "on a piece of the calibration text: perplexity {perplexity:.2f}, the original's"
                " {original:.2f}; logits alike to {cosine:.3f}",
                perplexity=result.perplexity,
                original=result.original_perplexity,
                cosine=result.cosine,
            )
        )
    output.line(result.name)


def _dry_run(request: Int4Request, *, as_json: bool) -> None:
    with Library() as library:
        found = preflight_int4(library, request)
    if as_json:
        output.json_document(found)
        return
    needs = found.estimate
    share = needs.quantized_parameters / max(needs.parameters, 1)
    for label, value in (
        (msg("source"), found.source),
        (msg("would make"), found.name),
        (msg("in"), str(found.path)),
        (
            msg("size"),
            msg(
                "about {size}; {share:.0%} of {parameters:,} parameters are quantized",
                size=byte_size(needs.output_bytes),
                share=share,
                parameters=needs.parameters,
            ),
        ),
        (msg("device"), found.device),
        (msg("memory"), msg("about {size}", size=byte_size(needs.ram_bytes))),
        (msg("GPU memory"), msg("about {size}", size=byte_size(needs.vram_bytes))),
        (
            msg("disk"),
            msg("about {size} while it works", size=byte_size(needs.disk_bytes)),
        ),
        (msg("time"), msg("about {minutes:.0f} minutes", minutes=needs.seconds / 60)),
        (
            msg("backend"),
            found.backend
            if found.installed
            else msg("{name}, not installed: localq backend install {name}", name=found.backend),
        ),
    ):
        output.field(label, value)
    for warning in found.warnings:
        output.warn(warning)
