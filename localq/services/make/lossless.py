"""A checkpoint as a GGUF that loses nothing: in which type, and by llama.cpp's own converter."""

from __future__ import annotations

import threading
from pathlib import Path

from localq.errors import BadFileError, Cancelled, UsageError, storage_errors
from localq.events import Emit, Started
from localq.formats.types import QuantType
from localq.library import Library, Model
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
    from localq.convert.external import OUTPUT_TYPES, prepare_converter, run_converter
    from localq.formats.gguf import read_gguf

    if outtype not in OUTPUT_TYPES:
        names = ", ".join(type_.name.lower() for type_ in OUTPUT_TYPES)
        raise UsageError(
            f"llama.cpp's converter does not write {outtype.name}", hint=f"choose one of: {names}"
        )
    log = library.paths.log / "llama.cpp-converter.log"
    root = library.paths.data / "llama.cpp-converter"
    converter = prepare_converter(root, log, emit, cancel, consent)
    if scripts := sorted(path.name for path in source.path.glob("*.py")):
        shown = ", ".join(scripts[:3])
        question = (
            f"{source.name} brings Python code of its own ({shown}), which llama.cpp's converter "
            "may run as you. Do you trust it?"
        )
        if not consent(question):
            raise Cancelled("stopped; nothing of the checkpoint was run")
    emit(Started(f"{source.name} -> {outtype.name}, by llama.cpp of {converter.release}"))
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    run_converter(converter, source.path, target, outtype, log=log, emit=emit, cancel=cancel)
    try:
        read_gguf(target)
    except BadFileError:
        target.unlink(missing_ok=True)
        raise
    return target
