"""Which of a repository's files make the model: no second copy in another framework's format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from localq.errors import HubError, NotFoundError, UnsupportedError
from localq.hub.source import RemoteFile
from localq.hub.spec import ModelSpec

__all__ = ["Chosen", "Weights", "choose_checkpoint", "choose_gguf", "gguf_quants"]

_WITH_WEIGHTS = frozenset(
    [
        "LICENSE",
        "LICENSE.md",
        "LICENSE.txt",
        "README.md",
        "added_tokens.json",
        "chat_template.jinja",
        "chat_template.json",
        "config.json",
        "generation_config.json",
        "merges.txt",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.json",
        "vocab.txt",
    ]
)
_INDEX = ".index.json"
_SHARD = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})\.(safetensors|gguf|bin)", re.IGNORECASE)
# Parts of a GGUF repository that are no language model: picture encoders, importance matrices.
_NOT_A_MODEL = re.compile(r"mmproj|imatrix", re.IGNORECASE)
_QUANT = re.compile(
    r"(?<![a-z0-9])((?:ud-)?(?:iq|tq|q)[1-9][a-z0-9_]*|bf16|f16|f32|mxfp4(?:_moe)?)(?![a-z0-9_])",
    re.IGNORECASE,
)


class Weights(Enum):
    """How the chosen weights are stored."""

    SAFETENSORS = "safetensors"
    PYTORCH = "pytorch_model.bin"
    GGUF = "gguf"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The files to fetch, small ones first; of GGUF the shards in their order."""

    weights: Weights
    files: tuple[RemoteFile, ...]

    @property
    def size_bytes(self) -> int:
        return sum(file.size for file in self.files)


def choose_checkpoint(repo: str, files: Sequence[RemoteFile]) -> Chosen:
    """The checkpoint of a repository: one set of weights, and what is needed to use it.

    UnsupportedError where there are no such weights, HubError where some of them are missing.
    """
    by_name = {_name(file): file for file in files if not _in_subfolder(file)}
    weights, names = _weights(repo, by_name)
    small = sorted(_WITH_WEIGHTS & by_name.keys())
    indexes = {_index_of(name) for name in names} & by_name.keys()
    return Chosen(weights, tuple(by_name[name] for name in [*small, *sorted(indexes), *names]))


def choose_gguf(spec: ModelSpec, files: Sequence[RemoteFile]) -> Chosen:
    """The GGUF file of `spec.quant`, or its shards; of several that fit, the shortest name's.

    NotFoundError names the quantizations there are.
    """
    assert spec.quant is not None
    wanted = re.compile(rf"(?<![a-z0-9]){re.escape(spec.quant)}(?![a-z0-9_])", re.IGNORECASE)
    models: dict[str, list[RemoteFile]] = {}
    for file in _gguf_files(files):
        if wanted.search(stem := _stem(file)):
            models.setdefault(stem, []).append(file)
    if not models:
        raise _no_such_quant(spec, gguf_quants(files))
    shards = sorted(models[min(models, key=lambda stem: (len(stem), stem))], key=lambda f: f.path)
    _refuse_missing_shards(spec.repo, [_name(shard) for shard in shards])
    return Chosen(Weights.GGUF, tuple(shards))


def gguf_quants(files: Iterable[RemoteFile]) -> list[str]:
    """The quantizations that the names of GGUF files carry, in capitals."""
    found = (match for file in _gguf_files(files) for match in _QUANT.findall(_stem(file)))
    return sorted({match.upper() for match in found})


def _weights(repo: str, by_name: dict[str, RemoteFile]) -> tuple[Weights, list[str]]:
    tensors = sorted(
        name
        for name in by_name
        if name.endswith(".safetensors") and not name.startswith("adapter_model")
    )
    for candidates in (
        # Where a repository has both one file and shards, they hold the same weights.
        [name for name in tensors if name == "model.safetensors"],
        [name for name in tensors if re.fullmatch(r"model-\d{5}-of-\d{5}\.safetensors", name)],
        [name for name in tensors if not name.startswith("consolidated")],
        tensors,
    ):
        if candidates:
            _refuse_missing_shards(repo, candidates)
            return Weights.SAFETENSORS, candidates
    pickles = sorted(name for name in by_name if re.fullmatch(r"pytorch_model.*\.bin", name))
    if pickles:
        _refuse_missing_shards(repo, pickles)
        return Weights.PYTORCH, pickles
    if quants := gguf_quants(by_name.values()):
        raise UnsupportedError(
            f"{repo} has GGUF files only: say which", hint=_pull_hint(repo, quants)
        )
    raise UnsupportedError(
        f"{repo} has no *.safetensors in it: not a checkpoint that localq can use"
    )


def _no_such_quant(spec: ModelSpec, quants: list[str]) -> NotFoundError:
    if quants:
        return NotFoundError(
            f"{spec.repo} has no GGUF file for {spec.quant}; it has {', '.join(quants[:30])}",
            hint=_pull_hint(spec.repo, quants),
        )
    return NotFoundError(
        f"{spec.repo} has no GGUF files",
        hint=f"localq pull {spec.repo}, then: localq quantize {(spec.quant or '').lower()}",
    )


def _pull_hint(repo: str, quants: list[str]) -> str:
    return f"localq pull {repo}:{'Q4_K_M' if 'Q4_K_M' in quants else quants[0]}"


def _refuse_missing_shards(repo: str, names: list[str]) -> None:
    shards = [match for name in names if (match := _SHARD.fullmatch(name))]
    if not shards:
        return
    expected = int(shards[0][3])
    if sorted(int(match[2]) for match in shards) != list(range(1, expected + 1)):
        raise HubError(f"{repo} has only some of the {expected} parts of {shards[0][1][:120]}")


def _gguf_files(files: Iterable[RemoteFile]) -> list[RemoteFile]:
    return [
        file
        for file in files
        if file.path.lower().endswith(".gguf") and not _NOT_A_MODEL.search(_name(file))
    ]


def _stem(file: RemoteFile) -> str:
    """The path without its ending, the same for all shards of a model."""
    match = _SHARD.fullmatch(file.path)
    return match[1] if match else file.path[: -len(".gguf")]


def _index_of(name: str) -> str:
    """Where the list of a shard's fellows would be: model.safetensors.index.json."""
    match = _SHARD.fullmatch(name)
    return f"{match[1]}.{match[4]}{_INDEX}" if match else name + _INDEX


def _name(file: RemoteFile) -> str:
    # By either separator, so that a hostile path is chosen, and then refused, not overlooked.
    return re.split(r"[/\\]", file.path)[-1]


def _in_subfolder(file: RemoteFile) -> bool:
    *folders, _ = file.path.split("/")
    return bool(folders) and all(
        folder not in ("", ".", "..") and "\\" not in folder for folder in folders
    )
