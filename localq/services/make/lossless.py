"""A checkpoint as a GGUF that loses nothing: in which type, and by llama.cpp's own converter."""

from __future__ import annotations

import threading
from pathlib import Path

from localq.errors import (
    BadFileError,
    Cancelled,
    UnsupportedError,
    UsageError,
    storage_errors,
)
from localq.events import Emit, Started
from localq.formats.types import QuantType
from localq.library import Library, Model
from localq.messages import msg
from localq.services.consent import Consent

__all__ = ["LOSSLESS", "convert_with_llama_cpp", "own_type"]

LOSSLESS = (QuantType.BF16, QuantType.F16, QuantType.F32)


def own_type(source: Model) -> QuantType:
    """The smallest type that keeps what the checkpoint holds (BF16 for what is quantized)."""
    return next((type_ for type_ in LOSSLESS if type_.name == source.quant), QuantType.BF16)


def convert_with_llama_cpp(
    library: Library,
    source: Model,
    outtype: QuantType,
    target: Path,
    emit: Emit,
    cancel: threading.Event,
    consent: Consent,
) -> Path:
    """Write the checkpoint `source` as the new file `target`, and return that.

    Sets llama.cpp's converter up if it is not there; see `convert` for `consent`. `target` should
    be a partial name on the disk the file is to stay on, its folder is made; after a failure it
    is gone.
    """
    from localq.convert.external import (
        OUTPUT_TYPES,
        prepare_converter,
        readable_by_transformers_4,
        run_converter,
    )
    from localq.formats.gguf import read_gguf

    if outtype not in OUTPUT_TYPES:
        names = ", ".join(type_.name.lower() for type_ in OUTPUT_TYPES)
        raise UsageError(
            msg("llama.cpp's converter does not write {name}", name=outtype.name),
            hint=msg("choose one of: {names}", names=names),
        )
    if _is_unknown_to_llama_cpp(source.architecture):
        raise UnsupportedError(
            msg(
                "llama.cpp's converter does not know the architecture {architecture!r}",
                architecture=source.architecture[:100],
            ),
            hint=msg("choose another model, or a newer localq: pip install --upgrade localq"),
        )
    log = library.paths.log / "llama.cpp-converter.log"
    root = library.paths.data / "llama.cpp-converter"
    converter = prepare_converter(root, log, emit, cancel, consent)
    if scripts := sorted(path.name for path in source.path.glob("*.py")):
        shown = ", ".join(scripts[:3])
        question = msg(
            "{name} brings Python code of its own ({shown}), which llama.cpp's"
            " converter may run as you. Do you trust it?",
            name=source.name,
            shown=shown,
        )
        if not consent(question):
            raise Cancelled(msg("stopped; nothing of the checkpoint was run"))
    emit(
        Started(
            msg(
                "{name} -> {name2}, by llama.cpp of {release}",
                name=source.name,
                name2=outtype.name,
                release=converter.release,
            )
        )
    )
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    scratch = library.paths.cache / "llama.cpp-converter"
    with readable_by_transformers_4(source.path, scratch) as folder:
        run_converter(converter, folder, target, outtype, log=log, emit=emit, cancel=cancel)
    try:
        read_gguf(target)
    except BadFileError:
        target.unlink(missing_ok=True)
        raise
    return target


def _is_unknown_to_llama_cpp(architecture: str) -> bool:
    """Where that can be said before anything of several hundred megabytes is downloaded."""
    from localq.convert.external import converter_release
    from localq.convert.llama_cpp_knows import LISTED_RELEASE, knows_architecture

    if architecture == "unknown" or knows_architecture(architecture):
        return False
    return converter_release() == LISTED_RELEASE
