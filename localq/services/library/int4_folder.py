"""A folder that holds an INT4 checkpoint, as an entry of the library would have it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from localq.errors import UnsupportedError
from localq.formats.json_file import read_json_object
from localq.formats.presence import is_there
from localq.formats.safetensors import read_safetensors_header
from localq.library import Model, ModelFormat
from localq.library.model import OWN, ModelSource
from localq.messages import msg

__all__ = ["int4_model", "is_int4_folder", "not_for_llama_cpp"]


def is_int4_folder(root: Path, tensors: Iterable[str] | None = None) -> bool:
    """Whether the checkpoint in the folder `root` is quantized by AWQ or GPTQ: its config, or a
    file beside it, says so, and there are packed `tensors` (None: by the headers on disk)."""
    from localq.gpu_quant.checkpoint import weight_names
    from localq.gpu_quant.quantization_config import BESIDE, is_int4_config

    if not is_there(root / "config.json"):
        return False
    config = read_json_object(root / "config.json")
    told = config.get("quantization_config")
    if not (is_int4_config(config) if told else any(is_there(root / name) for name in BESIDE)):
        return False
    if tensors is None:
        headers = (read_safetensors_header(root / name) for name in weight_names(root))
        tensors = (info.name for header in headers for info in header)
    return any(name.endswith(".qweight") for name in tensors)


def int4_model(
    root: Path,
    name: str,
    place: Path,
    *,
    size_bytes: int | None = None,
    source: ModelSource = OWN,
    created_at: float | None = None,
) -> Model:
    """The entry `name` for the INT4 checkpoint that lies in `root` and belongs to `place`.

    BadFileError where its parts do not go together.
    """
    from localq.gpu_quant.checkpoint import read_int4

    found = read_int4(root)
    weights = sum(info.nbytes for info in found.tensors.values())
    return Model.new(
        name,
        ModelFormat.INT4,
        found.label,
        place,
        architecture=found.architecture,
        parameters=found.parameters,
        size_bytes=weights if size_bytes is None else size_bytes,
        source=source,
        created_at=created_at,
    )


def not_for_llama_cpp(model: Model) -> UnsupportedError:
    """What the engine is not given, for the caller to raise."""
    base = model.name.partition(":")[0]
    return UnsupportedError(
        msg(
            "{name} is an INT4 checkpoint ({quant}): vLLM and transformers run it, llama.cpp"
            " does not",
            name=model.name,
            quant=model.quant,
        ),
        hint=msg("localq quantize q4_k_m {base} makes a GGUF of the original", base=base),
    )
