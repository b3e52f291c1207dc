"""What a user writes to name a model on the Hub: OWNER/NAME[@REVISION][:QUANT]."""

from __future__ import annotations

import re
from dataclasses import dataclass

from localq.errors import UsageError

__all__ = ["ModelSpec", "is_commit", "is_repo", "parse_spec"]

_MAX_CHARACTERS = 400
_PREFIXES = ("https://huggingface.co/", "https://hf.co/", "huggingface.co/", "hf.co/", "hf://")
_HINT = "write it as OWNER/NAME, such as HuggingFaceTB/SmolLM2-135M-Instruct"

# The Hub's own rules for names: letters, digits, - _ . inside, at most 96 characters in all.
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_MAX_REPO = 96
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+/-]{0,254}")
_QUANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A repository, a branch, tag or commit of it (None: its main branch), and a GGUF quant.

    `quant` is in capitals; None asks for the checkpoint.
    """

    repo: str
    revision: str | None = None
    quant: str | None = None

    @property
    def name(self) -> str:
        """What the model is called in the library."""
        return self.repo if self.quant is None else f"{self.repo}:{self.quant}"


def parse_spec(text: str) -> ModelSpec:
    """The model that `text` names; UsageError says which part of it cannot be right."""
    shown = repr(text[:120])
    if len(text) > _MAX_CHARACTERS:
        raise UsageError(f"{shown}... is too long for the name of a model", hint=_HINT)
    rest = text.strip()
    for prefix in _PREFIXES:
        if rest.lower().startswith(prefix):
            rest = rest[len(prefix) :].rstrip("/")
            break
    rest, colon, quant = rest.partition(":")
    repo, at, revision = rest.partition("@")
    if not is_repo(repo):
        raise UsageError(f"{shown} does not name a model on the Hub", hint=_HINT)
    if at and not _is_revision(revision):
        raise UsageError(
            f"{shown}: {revision[:80]!r} is not a revision",
            hint="after @ comes a branch, a tag or a commit",
        )
    if colon and not _QUANT.fullmatch(quant):
        raise UsageError(
            f"{shown}: {quant[:80]!r} is not a quantization",
            hint="after : comes one such as Q4_K_M",
        )
    return ModelSpec(repo, revision or None, quant.upper() or None)


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


def _is_revision(text: str) -> bool:
    return _REVISION.fullmatch(text) is not None and not any(
        part in f"{text}/" for part in ("..", "//", "/.")
    )
