"""`localq verify [MODEL...]`"""

from __future__ import annotations

import click

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.options import json_option
from localq.cli.progress import ProgressDisplay
from localq.errors import BadFileError, UsageError
from localq.library import Library
from localq.messages import msg

__all__ = ["command"]


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--all", "everything", is_flag=True, help="Check every model of the library.")
@json_option
def command(models: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Read every byte of MODELs and compare with the hashes that are known; check the headers.

    Where no hash is known of a file, it is recorded now, and later changes will be seen. Exit
    code 1 if anything is wrong.
    """
    from localq.services.library.verify import Verdict, verify

    if bool(models) == everything:
        raise UsageError(msg("which model? Name some, or say --all"), hint="localq verify --all")
    with Library() as library, cancel_on_interrupt() as cancel, ProgressDisplay() as emit:
        result = verify(library, models, emit, cancel)
    if as_json:
        output.json_document({"good": result.good, "models": result.models})
    else:
        for model in result.models:
            recorded = sum(file.verdict is Verdict.RECORDED for file in model.files)
            told = (
                msg(
                    " ({recorded} of {files} hashes recorded now)",
                    recorded=recorded,
                    files=len(model.files),
                )
                if recorded
                else ""
            )
            output.line(f"{'ok' if model.good else 'BAD':<4} {model.name}{told}")
            for file in model.files:
                if not file.verdict.good:
                    output.line(
                        msg(
                            "     {path}: {verdict}: {detail}",
                            path=file.path,
                            verdict=file.verdict,
                            detail=file.detail,
                        )
                    )
            for problem in model.problems:
                output.line(msg("     {problem}", problem=problem))
    bad = [model for model in result.models if not model.good]
    if bad:
        path = next((f.path for m in bad for f in m.files if not f.verdict.good), bad[0].name)
        raise BadFileError(
            path, msg("{name} is not what it was", name=bad[0].name), hint=bad[0].mend
        )
