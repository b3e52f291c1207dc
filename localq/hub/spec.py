"""What a user writes to name a model on the Hub: OWNER/NAME[@REVISION][:QUANT or :FILE].

The address of a page or a file, as it is copied from a browser, will do too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from localq.errors import UsageError
from localq.messages import msg

__all__ = ["ModelSpec", "is_commit", "is_repo", "parse_spec"]

_MAX_CHARACTERS = 400
_PREFIXES = ("https://huggingface.co/", "https://hf.co/", "huggingface.co/", "hf.co/", "hf://")
_HINT = msg("write it as OWNER/NAME, such as HuggingFaceTB/SmolLM2-135M-Instruct")

# The Hub's own rules for names: letters, digits, - _ . inside, at most 96 characters in all.
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_MAX_REPO = 96
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+/-]{0,254}")
_QUANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}")
_GGUF = ".gguf"
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A repository, a branch, tag or commit of it (None: its main branch), and which GGUF.

    `quant` is in capitals, `file` the path of a GGUF file or of one of its parts; at most one of
    them is there. Neither: the checkpoint.
    """

    repo: str
    revision: str | None = None
    quant: str | None = None
    file: str | None = None

    @property
    def is_gguf(self) -> bool:
        return self.quant is not None or self.file is not None

    @property
    def name(self) -> str:
        """What the user wrote, without the revision; of a quant, its name in the library."""
        which = self.quant or self.file
        return self.repo if which is None else msg("{repo}:{which}", repo=self.repo, which=which)


def parse_spec(text: str) -> ModelSpec:
    """The model that `text` names; UsageError says which part of it cannot be right."""
    shown = repr(text[:120])
    if len(text) > _MAX_CHARACTERS:
        raise UsageError(
            msg("{shown}... is too long for the name of a model", shown=shown), hint=_HINT
        )
    rest, colon, which = _without_address(text.strip()).partition(":")
    repo, at, revision = rest.partition("@")
    if not is_repo(repo):
        raise UsageError(msg("{shown} does not name a model on the Hub", shown=shown), hint=_HINT)
    if at and not _is_revision(revision):
        raise UsageError(
            msg("{shown}: {revision!r} is not a revision", shown=shown, revision=revision[:80]),
            hint=msg("after @ comes a branch, a tag or a commit"),
        )
    if colon and _is_gguf_path(which):
        return ModelSpec(repo, revision or None, file=which)
    if colon and not _QUANT.fullmatch(which):
        raise UsageError(
            msg(
                "{shown}: {which!r} is neither a quantization nor a GGUF file",
                shown=shown,
                which=which[:80],
            ),
            hint=msg("after : comes one such as Q4_K_M, or a file's path that ends in .gguf"),
        )
    return ModelSpec(repo, revision or None, which.upper() or None)


def is_repo(text: str) -> bool:
    """Whether `text` is written as "OWNER/NAME" in the way the Hub allows."""
    owner, _, name = text.partition("/")
    return (
        len(text) <= _MAX_REPO
        and _NAME.fullmatch(owner) is not None
        and _NAME.fullmatch(name) is not None
        and not any(part in text for part in ("--", ".."))
        and not name.endswith(".git")
    )


def is_commit(text: str) -> bool:
    """Whether `text` is a whole commit id, which can never mean something else later."""
    return _COMMIT.fullmatch(text) is not None


def _without_address(text: str) -> str:
    """OWNER/NAME[@REVISION][:FILE] for the address of a page of the Hub; else the text itself."""
    for prefix in _PREFIXES:
        if text.lower().startswith(prefix):
            path = text[len(prefix) :].rstrip("/")
            owner, name, kind, revision, file = (*path.split("/", 4), "", "", "", "")[:5]
            if kind in ("blob", "resolve", "tree") and revision:
                file = unquote(file.partition("?")[0])
                if file and not file.lower().endswith(_GGUF):
                    file = f"/{file}"  # no file that can be pulled alone, nor a quantization
                return f"{owner}/{name}@{unquote(revision)}" + (
                    msg(":{file}", file=file) if file else ""
                )
            return path
    return text


def _is_gguf_path(text: str) -> bool:
    return (
        text.lower().endswith(_GGUF)
        and text.isprintable()
        and not text.startswith("/")
        and not any(part in f"/{text}" for part in ("/../", "/./", "//", "\\", ":"))
    )


def _is_revision(text: str) -> bool:
    return _REVISION.fullmatch(text) is not None and not any(
        part in f"{text}/" for part in ("..", "//", "/.")
    )
