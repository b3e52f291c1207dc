"""Ollama's models: a manifest for each name and tag, and its layers as blobs named by SHA-256.

    manifests/HOST/NAMESPACE/MODEL/TAG        JSON: {"layers": [{"mediaType", "digest", "size"}]}
    blobs/sha256-HEX                          layer application/vnd.ollama.image.model: a GGUF

https://github.com/ollama/ollama/blob/main/docs/faq.mdx says where they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from localq.library.foreign.found import (
    ForeignModel,
    FoundFile,
    Skipped,
    plain_file,
    read_text,
    walk_files,
)
from localq.messages import msg

__all__ = ["find", "folders"]

_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
_LAYER = "application/vnd.ollama.image."
_MAX_LAYERS = 1000
_HUB_HOSTS = ("hf.co", "huggingface.co")


def folders(environ: Mapping[str, str], home: Path) -> list[Path]:
    if chosen := environ.get("OLLAMA_MODELS"):
        return [Path(chosen).expanduser()]
    return [
        home / ".ollama" / "models",
        Path("/usr/share/ollama/.ollama/models"),  # of the service that its installer makes
        Path("/var/lib/ollama/.ollama/models"),
        Path("/var/lib/ollama/models"),
    ]


def find(folder: Path) -> Iterator[ForeignModel | Skipped]:
    manifests = folder / "manifests"
    for path in walk_files(manifests, depth=4):
        parts = path.relative_to(manifests).parts
        if len(parts) < 3 or parts[-1].startswith("."):
            continue
        host, *namespace, model, tag = parts
        label = "/".join([*([] if namespace == ["library"] else namespace), f"{model}:{tag}"])
        text = read_text(path, folder)
        layers = _layers(text) if text is not None else None
        if layers is None:
            yield Skipped(label, msg("{path}: is not a manifest that localq can read", path=path))
            continue
        yield _model(folder, label, _repo(host, namespace, model, tag), layers, host)


def _repo(host: str, namespace: list[str], model: str, tag: str) -> str:
    owner = "-".join(namespace) or "ollama"
    if host in _HUB_HOSTS:
        return f"{owner}/{model}"
    name = model if tag == "latest" else f"{model}-{tag}"
    return f"{'ollama' if namespace == ['library'] else owner}/{name}"


def _model(
    folder: Path, label: str, repo: str, layers: dict[str, list[tuple[str, int]]], host: str
) -> ForeignModel | Skipped:
    weights = layers.get("model", [])
    if len(weights) != 1:
        why = (
            msg("has no GGUF")
            if not weights
            else msg("has {weights} files of weights", weights=len(weights))
        )
        return Skipped(label, msg("{why}; localq takes models of one GGUF from Ollama", why=why))
    if "adapter" in layers:
        return Skipped(label, msg("is a model with an adapter, which localq cannot take"))
    digest, size = weights[0]
    blob = folder / "blobs" / f"sha256-{digest}"
    if not blob.exists():
        blob = folder / "blobs" / f"sha256:{digest}"  # as Ollama up to 0.1.43 named them
    file = plain_file(blob, folder, digest)
    if isinstance(file, str):
        return Skipped(label, file)
    if file.size_bytes != size:
        return Skipped(
            label,
            msg(
                "{blob}: has {size_bytes:,} bytes, its manifest says {size:,}",
                blob=blob,
                size_bytes=file.size_bytes,
                size=size,
            ),
        )
    apart = [kind for kind in ("projector", "template", "system", "params") if kind in layers]
    notes = (f"Ollama keeps apart, and localq leaves: {', '.join(apart)}",) if apart else ()
    return ForeignModel(
        tool="ollama",
        label=label,
        files=(FoundFile(file.path, file.real, file.size_bytes, digest),),
        repo=repo,
        from_hub=host in _HUB_HOSTS,
        notes=notes,
    )


def _layers(text: str) -> dict[str, list[tuple[str, int]]] | None:
    """Each kind of layer's digests and sizes; None for what is no manifest."""
    try:
        document: Any = json.loads(text)
        layers: dict[str, list[tuple[str, int]]] = {}
        for layer in document["layers"][:_MAX_LAYERS]:
            match = _DIGEST.fullmatch(layer["digest"])
            kind = layer["mediaType"]
            if match is None or not isinstance(kind, str) or type(layer["size"]) is not int:
                return None
            if kind.startswith(_LAYER):
                layers.setdefault(kind.removeprefix(_LAYER), []).append((match[1], layer["size"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return layers
