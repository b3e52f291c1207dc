"""Whether localq could use a checkpoint at all, found out before the first of its weights comes."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

from localq.errors import NotFoundError, UnsupportedError
from localq.events import Emit, ignore
from localq.hub.headers import read_remote_headers
from localq.hub.source import Source
from localq.messages import msg
from localq.services.library.int4_folder import is_int4_folder
from localq.services.pull.plan import Plan
from localq.services.pull.remote import as_published
from localq.services.pull.stage import stage

__all__ = ["refuse_unusable"]

_CONFIG, _INDEX_SUFFIX = "config.json", ".index.json"


def refuse_unusable(
    source: Source, plan: Plan, folder: Path, emit: Emit, cancel: threading.Event
) -> int:
    """Stage what says what the checkpoint is and look at it; the bytes that came for this.

    Where something says that the weights are quantized, their headers decide. Raises
    UnsupportedError, NotFoundError and BadFileError for what would be useless when all of it was
    here; HubError, OfflineError, StorageError and Cancelled as `stage`.
    """
    from localq.convert import open_checkpoint, read_config
    from localq.gpu_quant.checkpoint import read_int4
    from localq.gpu_quant.quantization_config import BESIDE

    saying = {
        path: file
        for path, file in plan.files.items()
        if file.path in (_CONFIG, *BESIDE) or file.path.endswith(_INDEX_SUFFIX)
    }
    if not any(file.path == _CONFIG for file in saying.values()):
        raise NotFoundError(
            msg(
                "{repo} has no config.json: not a checkpoint that localq can use", repo=source.repo
            ),
            hint=msg("choose the repository of the original model"),
        )
    moved = stage(source, replace(plan, files=saying), folder, ignore, cancel).moved_bytes
    with as_published(source.repo, folder):
        config, _ = read_config(folder)
    quantization = config.get("quantization_config")
    if not quantization and not any(file.path in BESIDE for file in source.files):
        return moved
    shards = {plan.staged(folder, path): plan.files[path] for path in plan.weights}
    if any(path.suffix != ".safetensors" for path in shards):
        if not quantization:
            return moved
        method = quantization.get("quant_method") if isinstance(quantization, dict) else None
        raise UnsupportedError(
            msg(
                "{repo} says that it is quantized ({method}), and PyTorch's own files show"
                " only when all of them are here whether it is",
                repo=source.repo,
                method=str(method)[:50],
            ),
            hint=msg("take the original checkpoint, or a revision with *.safetensors"),
        )
    headers = read_remote_headers(source, list(shards.values()), emit=emit, cancel=cancel)
    tensors = {path: header.tensors for path, header in zip(shards, headers, strict=True)}
    with as_published(source.repo, folder):
        if is_int4_folder(folder, (t.name for of in tensors.values() for t in of)):
            read_int4(folder, shards=tensors)
        else:
            open_checkpoint(folder, name=source.repo.rpartition("/")[2], shards=tensors)
    return moved + sum(header.fetched_bytes for header in headers)
