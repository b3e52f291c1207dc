"""Write a recipe to begin with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from localq.errors import LibraryError, UsageError, storage_errors
from localq.formats.types import QuantType
from localq.hub.spec import parse_spec
from localq.library import Library
from localq.messages import msg
from localq.partials import write_whole
from localq.recipes import RECIPE_FILE
from localq.services.recipes.find import is_demo

__all__ = ["new_recipe"]

_TEXT = """# What `localq recipe run` does in this folder; `localq recipe check` reads it.

[model]
repo = {repo}
{revision}
{outputs}
# [calibration]              # an importance matrix, made for the files above
# text = "calibration.txt"

[checks]                     # measured of each file; more limits: max_perplexity, min_agreement
text = "wikitext2"
chunks = 20
against = "q8_0"
max_kld = 0.2

# [plan]                     # how the files are loaded
# n_ctx = 8192

# [preset]                   # for `localq chat --preset NAME`
# system = "Answer briefly."
"""


def new_recipe(
    library: Library, model: str | None, types: Sequence[QuantType], target: Path, *, force: bool
) -> Path:
    """Write a recipe for a model of the library or the Hub (None: the checkpoint used last), pinned
    to the revision that is here. UsageError; LibraryError for a file that is there."""
    path = target / RECIPE_FILE if target.is_dir() else target
    if path.suffix != ".toml":
        raise UsageError(msg("{path}: a recipe is a .toml file", path=path))
    if path.exists() and not force:
        raise LibraryError(
            msg("{path}: is there already", path=path), hint=msg("replace it with --force")
        )
    repo, revision = _model(library, model)
    outputs = "".join(f'[[quantize]]\ntype = "{type_.name.lower()}"\n\n' for type_ in types)
    pinned = f"revision = {json.dumps(revision)}\n" if revision else ""
    text = _TEXT.format(repo=json.dumps(repo), revision=pinned, outputs=outputs.rstrip("\n") + "\n")
    with storage_errors(path):
        write_whole(path, text)
    return path


def _model(library: Library, model: str | None) -> tuple[str, str | None]:
    held = library.find_checkpoint(None) if model is None else library.get(model)
    if held is not None and held.source.repo is not None:
        repo = held.source.repo
        return repo, None if is_demo(repo) else held.source.revision
    if model is None:
        raise UsageError(
            msg("the checkpoint used last has no repository"), hint=msg("name one: OWNER/NAME")
        )
    if is_demo(model):
        return "demo", None
    spec = parse_spec(model)
    if spec.is_gguf:
        raise UsageError(msg("a recipe starts from a checkpoint, named OWNER/NAME"))
    return spec.repo, spec.revision
