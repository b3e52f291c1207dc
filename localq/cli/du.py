"""`localq du`"""

from __future__ import annotations

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option
from localq.cli.progress import ProgressDisplay
from localq.display import byte_size
from localq.errors import UsageError
from localq.library import Library
from localq.messages import msg

__all__ = ["command"]


@click.command()
@click.option("--duplicates", is_flag=True, help="Find files with the same content instead.")
@click.option("--link", is_flag=True, help="With --duplicates: make one file of them.")
@json_option
def command(duplicates: bool, link: bool, as_json: bool) -> None:
    """Say what each model takes of the disk, and what else does. Shared files count once."""
    if link and not duplicates:
        raise UsageError(msg("--link goes with --duplicates"), hint="localq du --duplicates --link")
    if duplicates:
        _duplicates(link, as_json)
        return
    from localq.services.library.usage import disk_usage

    with Library() as library:
        usage = disk_usage(library)
    if as_json:
        output.json_document(usage)
        return
    rows = [
        (
            one.model.name,
            byte_size(one.bytes),
            "elsewhere"
            if one.model.external
            else ""
            if one.frees_bytes == one.bytes
            else f"shared; alone it takes {byte_size(one.frees_bytes)}",
        )
        for one in usage.models
    ]
    for what, size in (
        (msg("models, together"), usage.models_bytes),
        (msg("unfinished work"), usage.partial_bytes),
        (msg("trash (localq trash empty)"), usage.trash_bytes),
        (msg("caches"), usage.cache_bytes),
        (msg("backends (localq backend list)"), usage.backends_bytes),
        (msg("catalogue and tools"), usage.other_bytes),
        (msg("free on this disk"), usage.free_bytes),
    ):
        rows.append((what, byte_size(size), ""))
    output.table((msg("WHAT"), msg("SIZE"), ""), rows)


def _duplicates(link: bool, as_json: bool) -> None:
    from localq.services.library.duplicates import find_duplicates

    with Library() as library, cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
        result = find_duplicates(library, emit, cancel, link=link)
    if as_json:
        output.json_document({**output.to_json(result), "saves_bytes": result.saves_bytes})
        return
    for duplicate in result.duplicates:
        output.line(msg("{size_bytes} the same in:", size_bytes=byte_size(duplicate.size_bytes)))
        for path, model in zip(duplicate.files, duplicate.models, strict=True):
            output.line(msg("  {path} ({model})", path=path, model=model))
    if not result.duplicates:
        output.narrate(msg("no duplicates"))
    elif link:
        output.narrate(msg("{saves_bytes} freed", saves_bytes=byte_size(result.saves_bytes)))
    elif result.saves_bytes:
        size = byte_size(result.saves_bytes)
        output.narrate(msg("localq du --duplicates --link would free {size}", size=size))
