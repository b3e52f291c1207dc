"""Which of a repository's GGUF files is meant, what to call it, and what comes with it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from localq.errors import HubError, NotFoundError, UnsupportedError, UsageError
from localq.formats.stand_in import piece
from localq.hub.shards import missing_shards, without_shard
from localq.hub.source import RemoteFile
from localq.hub.spec import ModelSpec
from localq.messages import msg

__all__ = [
    "ChosenGguf",
    "PictureEncoder",
    "choose_gguf",
    "choose_mmproj",
    "gguf_quants",
    "has_mmproj",
    "is_quant",
    "pull_hint",
]

# Parts of a GGUF repository that are no language model: picture encoders, importance matrices.
_NOT_A_MODEL = re.compile(r"mmproj|imatrix", re.IGNORECASE)
_MMPROJ = re.compile(r"mmproj", re.IGNORECASE)
_MMPROJ_TYPES = ("F16", "BF16", "F32", "Q8_0")
"""The best first: an encoder is small, and half precision is what all of them are trained in."""
_QUANT = re.compile(
    r"(?<![a-z0-9])((?:ud-)?(?:iq|tq|q)[1-9][a-z0-9_]*|bf16|f16|f32|mxfp4(?:_moe)?)(?![a-z0-9_])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ChosenGguf:
    """A model's file, or its shards in their order; `label` follows the colon of its name."""

    label: str
    files: tuple[RemoteFile, ...]


@dataclass(frozen=True, slots=True)
class PictureEncoder:
    """The file that lets a model see, chosen among `of`; `type` is what its name says, or ""."""

    file: RemoteFile
    type: str
    of: int


def choose_gguf(spec: ModelSpec, files: Sequence[RemoteFile]) -> ChosenGguf:
    """The model of `spec.file`, or of `spec.quant`: of several that fit, the shortest name's.

    NotFoundError names the quantizations there are, HubError a model whose parts are missing.
    """
    models = _models(files)
    if spec.file is not None:
        stem = without_shard(spec.file)
        if stem not in models or spec.file not in {file.path for file in models[stem]}:
            raise _no_such_file(spec, files)
        label = _label(stem, models)
    else:
        assert spec.quant is not None
        found = _of_quant(spec.quant, models) or _of_label(spec.quant, models)
        if found is None:
            raise _in_pieces(spec, files) or _no_such_quant(spec, gguf_quants(files))
        stem = found
        label = spec.quant if is_quant(spec.quant) else _label(stem, models)
    if missing := missing_shards([file.path for file in models[stem]]):
        raise HubError(msg("{repo} has {missing}", repo=spec.repo, missing=missing))
    return ChosenGguf(label, tuple(models[stem]))


def choose_mmproj(repo: str, files: Sequence[RemoteFile]) -> PictureEncoder:
    """The picture encoder: F16 before BF16, F32, Q8_0 and others; then the shortest name.

    NotFoundError where the repository has none.
    """
    found = _encoders(files)
    if not found:
        raise NotFoundError(
            msg("{repo} has no picture encoder (mmproj*.gguf)", repo=repo),
            hint=msg("pull it without --mmproj"),
        )

    def rank(file: RemoteFile) -> tuple[int, int, str]:
        type_ = _type(file)
        place = _MMPROJ_TYPES.index(type_) if type_ in _MMPROJ_TYPES else len(_MMPROJ_TYPES)
        return place, len(file.path), file.path

    best = min(found, key=rank)
    return PictureEncoder(best, _type(best), len(found))


def has_mmproj(files: Iterable[RemoteFile]) -> bool:
    """Whether a repository has a picture encoder."""
    return bool(_encoders(files))


def _encoders(files: Iterable[RemoteFile]) -> list[RemoteFile]:
    return [f for f in files if f.path.lower().endswith(".gguf") and _MMPROJ.search(_name(f))]


def gguf_quants(files: Iterable[RemoteFile]) -> list[str]:
    """The quantizations that the names of GGUF files carry, in capitals."""
    found = (match for stem in _models(files) for match in _QUANT.findall(stem))
    return sorted({match.upper() for match in found})


def is_quant(text: str) -> bool:
    """Whether `text` is written as the name of a quantization."""
    return _QUANT.fullmatch(text) is not None


def pull_hint(repo: str, quants: Sequence[str]) -> str:
    """The command that pulls one of the quantizations there are."""
    return msg(
        "localq pull {repo}:{word}", repo=repo, word=("Q4_K_M" if "Q4_K_M" in quants else quants[0])
    )


def _models(files: Iterable[RemoteFile]) -> dict[str, list[RemoteFile]]:
    """The GGUF models by their paths without ending and number of shard."""
    models: dict[str, list[RemoteFile]] = {}
    for file in sorted(files, key=lambda file: file.path):
        if file.path.lower().endswith(".gguf") and not _NOT_A_MODEL.search(_name(file)):
            models.setdefault(without_shard(file.path), []).append(file)
    return models


def _of_label(label: str, stems: Iterable[str]) -> str | None:
    """The model that was pulled as a file, by its name in the library."""
    stems = list(stems)
    found = (stem for stem in stems if _label(stem, stems).casefold() == label.casefold())
    return next(found, None)


def _of_quant(quant: str, stems: Iterable[str]) -> str | None:
    wanted = re.compile(rf"(?<![a-z0-9]){re.escape(quant)}(?![a-z0-9_])", re.IGNORECASE)
    found = [stem for stem in stems if wanted.search(stem)]
    return min(found, key=lambda stem: (len(stem), stem)) if found else None


def _label(stem: str, stems: Iterable[str]) -> str:
    """The quantization in a file's name if it means this file, else the file's name; its path
    where another folder has a file of that name."""
    stems = list(stems)
    for quant in reversed(_QUANT.findall(stem)):
        if _of_quant(quant, stems) == stem:
            return str(quant).upper()
    name = stem.rpartition("/")[2]
    if sum(other.rpartition("/")[2].casefold() == name.casefold() for other in stems) == 1:
        return name
    return stem.replace("/", "-")


def _type(file: RemoteFile) -> str:
    found = _QUANT.findall(without_shard(file.path))
    return str(found[-1]).upper() if found else ""


def _in_pieces(spec: ModelSpec, files: Iterable[RemoteFile]) -> UnsupportedError | None:
    """The quantization is there, but cut into pieces by bytes, which no reader of GGUF takes."""
    pieces = [(file.path, found) for file in files if (found := piece(_name(file)))]
    for path, found in sorted(pieces, key=lambda item: item[0]):
        if _of_quant(spec.quant or "", [path]):
            return UnsupportedError(
                msg(
                    "{repo} has {quant} in pieces only, which localq does not join: {path}"
                    " {problem}",
                    repo=spec.repo,
                    quant=spec.quant,
                    path=path,
                    problem=found.problem,
                ),
                hint=msg(
                    "choose another quantization; or download the pieces and {hint}",
                    hint=found.hint,
                ),
            )
    return None


def _no_such_quant(spec: ModelSpec, quants: list[str]) -> NotFoundError:
    if quants:
        return NotFoundError(
            msg(
                "{repo} has no GGUF file for {quant}; it has {quants}",
                repo=spec.repo,
                quant=spec.quant,
                quants=", ".join(quants[:30]),
            ),
            hint=pull_hint(spec.repo, quants),
        )
    return NotFoundError(
        msg("{repo} has no GGUF files", repo=spec.repo),
        hint=msg(
            "localq pull {repo}, then: localq quantize {quant}",
            repo=spec.repo,
            quant=(spec.quant or "").lower(),
        ),
    )


def _no_such_file(spec: ModelSpec, files: Sequence[RemoteFile]) -> NotFoundError | UsageError:
    if any(file.path == spec.file for file in files):
        return UsageError(
            msg("{file} is not a model but something that goes with one", file=spec.file),
            hint=msg("localq pull {repo}:Q4_K_M --mmproj", repo=spec.repo),
        )
    there = sorted(_models(files), key=len)
    named = f"; it has {', '.join(f'{stem}.gguf' for stem in there[:10])}" if there else ""
    return NotFoundError(
        msg("{repo} has no file {file!r}{named}", repo=spec.repo, file=spec.file, named=named),
        hint=pull_hint(spec.repo, gguf_quants(files) or ["Q4_K_M"]),
    )


def _name(file: RemoteFile) -> str:
    return re.split(r"[/\\]", file.path)[-1]
