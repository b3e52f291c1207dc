"""What a quantization would do, without doing it."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localq.errors import LocalqError
from localq.library import Library
from localq.services.make.destination import existing_folder
from localq.services.make.quantize_plan import plan_files, source_and_target
from localq.services.make.quantize_request import QuantizeRequest

if TYPE_CHECKING:
    from localq.convert import ConvertedModel

__all__ = ["Preflight", "preflight"]


@dataclass(frozen=True, slots=True)
class Preflight:
    """What a quantization would do, known before a weight is read; `size_bytes` is exact.

    `tensor_types` counts the tensors of each type; `chat_template` is "none", "ok", or what is
    wrong with it; `problems` are the reasons why it would fail, `warnings` what to think about.
    """

    source: str
    path: Path
    architecture: str
    parameters: int
    quant: str
    size_bytes: int
    tensor_types: Mapping[str, int]
    tokenizer: str
    chat_template: str
    free_disk_bytes: int
    available_memory_bytes: int | None
    warnings: tuple[str, ...]
    problems: tuple[str, ...]


def preflight(library: Library, request: QuantizeRequest) -> Preflight:
    """Find out what `quantize` would do, from headers, config and tokenizer alone."""
    from localq.hardware import memory

    source, target = source_and_target(library, request)
    plan = plan_files(request, source, target)
    free = shutil.disk_usage(existing_folder(target.parent)).free
    size = plan.size_bytes
    available = found.available if (found := memory()) else None
    problems = [f"the disk has {free:,} bytes left"] if size > free else []
    warnings = list(plan.warnings)
    if available is not None and size > available:
        warnings.append(f"running it takes more than the {available:,} bytes of memory left now")
    template = _template_state(plan.model)
    if template not in ("none", "ok"):
        warnings.append(f"the chat template does not work: {template}")
    fields = plan.model.fields
    kind, pre = (fields.get(f"tokenizer.ggml.{key}") for key in ("model", "pre"))
    return Preflight(
        source.name,
        plan.path,
        plan.model.architecture,
        plan.model.parameters,
        request.type.name,
        size,
        dict(Counter(t.type.name for file in plan.files for t in file.layout.tensors)),
        f"{kind.value if kind else 'none'} ({pre.value if pre else 'none'})",
        template,
        free,
        available,
        tuple(warnings),
        tuple(problems),
    )


def _template_state(model: ConvertedModel) -> str:
    from localq.chat_format.template import ChatTemplate

    field = model.fields.get("tokenizer.chat_template")
    if field is None or not isinstance(field.value, str):
        return "none"
    try:
        ChatTemplate(field.value, "", "")
    except LocalqError as error:
        return error.message
    return "ok"
