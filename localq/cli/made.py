"""What `quantize` and `convert` say when a file is made."""

from __future__ import annotations

from localq.cli import output
from localq.display import byte_size
from localq.messages import msg
from localq.services.make.quantize import QuantizeResult

__all__ = ["report_made"]


def report_made(result: QuantizeResult, *, as_json: bool) -> None:
    """The model's name, or the path of a file outside the library; how large and how fast."""
    if as_json:
        output.json_document(result)
        return
    if not result.already_there:
        output.narrate(
            msg(
                "{size_bytes} in {seconds:.1f} s",
                size_bytes=byte_size(result.size_bytes),
                seconds=result.seconds,
            )
        )
    if result.projector is not None:
        output.narrate(msg("with its projector: {path}", path=result.projector))
    output.line(result.name or str(result.path))
