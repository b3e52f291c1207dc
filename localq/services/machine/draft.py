"""The small model that guesses for a larger one: found, and looked at before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from localq.errors import UsageError
from localq.formats.gguf import GGUFFile, read_gguf
from localq.library import Library
from localq.messages import msg
from localq.planning.model_shape import ModelShape, read_shape
from localq.planning.offload_plan import PlanOptions
from localq.planning.plan import n_draft
from localq.services.library.locate import locate_gguf

__all__ = ["Draft", "read_draft"]

_TOKENS = "tokenizer.ggml.tokens"


@dataclass(frozen=True, slots=True)
class Draft:
    path: Path
    shape: ModelShape


def read_draft(
    library: Library | None,
    name: str,
    target: GGUFFile,
    shape: ModelShape,
    plan_options: PlanOptions,
) -> Draft:
    """The draft of that name, or file, for the `target` of that `shape`. NotFoundError,
    BadFileError; UsageError where it cannot be one, or the target has no use for any."""
    path = Path(name).absolute() if library is None else locate_gguf(library, name).path
    if plan_options.n_draft == 0:
        raise UsageError(
            msg("a draft model, and no tokens to guess"), hint=msg("leave out --draft-max 0")
        )
    if not n_draft(shape, plan_options):
        raise UsageError(
            msg("{name}: has no use for a draft: it cannot go back in a text", name=target.path),
            hint=msg("leave out --draft"),
        )
    file = read_gguf(path)
    draft = read_shape(file.metadata, file.tensors, name=path.name)
    if not n_draft(draft, PlanOptions()):
        raise UsageError(
            msg("{path}: cannot be a draft: it cannot go back in a text", path=path),
            hint=msg("name another one, or leave out --draft"),
        )
    if draft.n_vocab != shape.n_vocab:
        raise UsageError(
            msg(
                "{path}: cannot be the draft of {name}: its vocabulary has {count:,} tokens, not"
                " {expected:,}",
                path=path,
                name=target.path,
                count=draft.n_vocab,
                expected=shape.n_vocab,
            ),
            hint=msg("a smaller model of the same family, as a rule, has the same vocabulary"),
        )
    if file.metadata.get(_TOKENS) != target.metadata.get(_TOKENS):
        raise UsageError(
            msg(
                "{path}: cannot be the draft of {name}: its vocabulary has other tokens",
                path=path,
                name=target.path,
            ),
            hint=msg("a smaller model of the same family, as a rule, has the same vocabulary"),
        )
    return Draft(path, draft)
