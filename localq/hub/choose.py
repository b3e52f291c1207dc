"""Which of a repository's files make a checkpoint: no second copy in another framework's format."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum

from localq.errors import HubError, UnsupportedError, UsageError
from localq.formats.weight_files import (
    AmbiguousWeightsError,
    IncompleteWeightsError,
    WeightFiles,
    find_weight_files,
)
from localq.hub.choose_gguf import gguf_quants, pull_hint
from localq.hub.selection import Selection
from localq.hub.source import RemoteFile
from localq.hub.weight_index import ReadIndex
from localq.messages import msg

__all__ = ["WITH_WEIGHTS", "Chosen", "Weights", "choose_checkpoint", "module_files"]

WITH_WEIGHTS = frozenset(
    [
        "LICENSE",
        "LICENSE.md",
        "LICENSE.txt",
        "README.md",
        "added_tokens.json",
        "chat_template.jinja",
        "chat_template.json",
        "config.json",
        "config_sentence_transformers.json",
        "generation_config.json",
        "hy.tiktoken",
        "localq_provenance.json",
        "merges.txt",
        "modules.json",
        "params.json",
        "preprocessor_config.json",
        "processor_config.json",
        "quant_config.json",
        "quantize_config.json",
        "sentence_bert_config.json",
        "special_tokens_map.json",
        "tekken.json",
        "tiktoken.model",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.json",
        "vocab.txt",
    ]
)
"""Files that belong to a checkpoint, where they are there."""
_OWN_FILES = (
    ("params.json", "config.json"),
    *((name, "tokenizer.json") for name in ("hy.tiktoken", "tekken.json", "tiktoken.model")),
)
_MODULES = "modules.json"
# sentence-transformers: 1_Pooling, 2_Dense, ... each with a configuration, some with weights.
_MODULE_FILE = re.compile(
    r"([0-9]{1,2}_[A-Za-z]{1,40})/(config\.json|[a-z_]+\.(?:safetensors|bin))"
)
_GGUF = ".gguf"
# What a reader of the folder takes for parts of one model.
_WEIGHTS = re.compile(r"model[^/]*\.safetensors")


class Weights(Enum):
    """How the chosen weights are stored."""

    SAFETENSORS = "safetensors"
    PYTORCH = "pytorch_model.bin"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The files to fetch, small ones first; the last of them are `weight_files`."""

    weights: Weights
    files: tuple[RemoteFile, ...]
    weight_files: tuple[RemoteFile, ...]

    @property
    def size_bytes(self) -> int:
        return sum(file.size for file in self.files)


def choose_checkpoint(
    repo: str,
    files: Sequence[RemoteFile],
    selection: Selection | None = None,
    *,
    read_index: ReadIndex | None = None,
) -> Chosen:
    """The checkpoint of a repository: one set of weights, what is needed to use it, and what
    `selection` adds; GGUF files and second sets of weights are models of their own, never part
    of one. `read_index` is asked where the names alone do not say what the weights are.

    UnsupportedError where there are no such weights, HubError where some of them are missing,
    UsageError where the selection leaves out what no checkpoint can do without, or adds nothing.
    """
    selection = selection or Selection()
    by_name = {_name(file): file for file in files if not _in_subfolder(file)}
    found = _weights(repo, by_name, read_index)
    kind = Weights.PYTORCH if found.pickled else Weights.SAFETENSORS
    names = found.names
    small = sorted(WITH_WEIGHTS & by_name.keys() - _said_twice(by_name))
    indexes = {f"{name}.index.json" for name in names} | ({found.index} if found.index else set())
    indexes &= by_name.keys()
    weights = tuple(by_name[name] for name in names)
    needed = [by_name[name] for name in [*small, *sorted(indexes)]]
    by_path = {file.path: file for file in files}
    needed += [by_path[path] for path in module_files(by_path)]
    for file in (*weights, *(f for f in needed if f.path == "config.json")):
        if selection.excludes(file.path):
            raise UsageError(
                msg("{repo}: no model without {path}", repo=repo, path=file.path),
                hint=msg("let --exclude spare that file"),
            )
    wanted = [f for f in files if selection.includes(f.path) and not _is_other_model(f)]
    if selection.include and not wanted:
        raise UsageError(
            msg(
                "{repo} has no more files that match {include}",
                repo=repo,
                include=" or ".join(selection.include),
            ),
            hint=msg("localq pull {repo} --all --dry-run lists its files", repo=repo),
        )
    kept = [file for file in needed if not selection.excludes(file.path)]
    chosen = dict.fromkeys([*kept, *wanted])
    others = [file for file in chosen if file not in weights]
    return Chosen(kind, (*others, *weights), weights)


def _said_twice(names: Collection[str]) -> set[str]:
    """Files in a form of their author's, where transformers' say the same."""
    return {own for own, usual in _OWN_FILES if usual in names}


def _is_other_model(file: RemoteFile) -> bool:
    """Whether it is a GGUF, or would be taken for weights of the checkpoint; those that are its
    weights are chosen already."""
    path = file.path.lower()
    return path.endswith(_GGUF) or _WEIGHTS.fullmatch(path) is not None


def module_files(paths: Collection[str]) -> list[str]:
    """What the modules of a sentence-transformer hold: of two kinds of weights the safe one.

    Nothing where there is no modules.json.
    """
    if _MODULES not in paths:
        return []
    folders: dict[str, set[str]] = {}
    for path in paths:
        if match := _MODULE_FILE.fullmatch(path):
            folders.setdefault(match[1], set()).add(path)
    chosen: set[str] = set()
    for inside in folders.values():
        safe = any(path.endswith(".safetensors") for path in inside)
        chosen |= {path for path in inside if not (safe and path.endswith(".bin"))}
    return sorted(chosen)


def _weights(
    repo: str, by_name: dict[str, RemoteFile], read_index: ReadIndex | None
) -> WeightFiles:
    try:
        found = find_weight_files(
            by_name.keys(), lambda name: read_index(by_name[name]) if read_index else {}
        )
    except IncompleteWeightsError as error:
        raise HubError(
            msg("{repo}: {error}", repo=repo, error=error),
            hint=msg("choose another revision, or the original model"),
        ) from None
    except AmbiguousWeightsError as error:
        raise UnsupportedError(
            f"{repo} {error}", hint=msg("choose a model or a revision with model*.safetensors")
        ) from None
    if found is not None:
        return found
    if quants := gguf_quants(by_name.values()):
        raise UnsupportedError(
            msg(
                "{repo} has GGUF files only ({quants}): say which",
                repo=repo,
                quants=", ".join(sorted(quants)),
            ),
            hint=pull_hint(repo, quants),
        )
    if config := by_name.get("adapter_config.json"):
        settings = read_index(config) if read_index else {}
        base = settings.get("base_model_name_or_path")
        of = f" for {base[:200]}" if isinstance(base, str) and base else ""
        raise UnsupportedError(
            msg("{repo} is an adapter{of}, not a model", repo=repo, of=of),
            hint=msg("download its folder, then: localq convert FOLDER --base MODEL [--merge]"),
        )
    raise UnsupportedError(
        msg("{repo} has no *.safetensors in it: not a checkpoint that localq can use", repo=repo),
        hint=msg("localq search {repo}", repo=repo.partition("/")[2]),
    )


def _name(file: RemoteFile) -> str:
    # By either separator, so that a hostile path is chosen, and then refused, not overlooked.
    return re.split(r"[/\\]", file.path)[-1]


def _in_subfolder(file: RemoteFile) -> bool:
    *folders, _ = file.path.split("/")
    return bool(folders) and all(
        folder not in ("", ".", "..") and "\\" not in folder for folder in folders
    )
