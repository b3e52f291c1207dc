"""Read a recipe from its file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from localq.errors import BadFileError, UsageError
from localq.formats.types import QuantType, TensorType
from localq.messages import msg
from localq.recipes.recipe import (
    WIKITEXT2,
    Calibration,
    Checks,
    KnownModel,
    PlanRecipe,
    PresetRecipe,
    QuantizeRecipe,
    Recipe,
    Role,
)
from localq.recipes.toml_table import Table, read_toml

__all__ = ["TABLES", "load_recipe"]

_ABOUT = (
    *("title", "architecture", "license", "context", "languages"),
    *("offered", "memory_gb", "role", "reason"),
)
TABLES = {
    "model": ("repo", "revision", *_ABOUT),
    "quantize": ("type", "imatrix", "output_type", "embedding_type", "pure", "tensor_types"),
    "calibration": ("text", "reader", "chunks", "n_ctx"),
    "checks": (
        *("text", "chunks", "n_ctx", "against"),
        *("max_perplexity", "max_kld", "min_agreement"),
    ),
    "plan": ("n_ctx", "n_gpu_layers", "type_k", "type_v"),
    "preset": ("system", "about", "on_full", "sampling"),
}
"""Every table of a recipe, and its keys."""

_LEAST_CONTEXT = 16
_MOST_CONTEXT = 1 << 16
_MOST_OUTPUTS = 32

_Type = TypeVar("_Type", QuantType, TensorType)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe. NotFoundError, or BadFileError that names the file and the key."""
    whole = read_toml(path)
    whole.refuse_unknown(tuple(TABLES))
    if "model" not in whole:
        raise BadFileError(path, msg("model is missing"))
    model = _known_keys(whole.table("model"), "model")
    repo = model.text("repo")
    return Recipe(
        path,
        repo,
        model.text("revision") if "revision" in model else None,
        outputs=_outputs(whole),
        calibration=_calibration(whole) if "calibration" in whole else None,
        checks=_checks(whole) if "checks" in whole else None,
        plan=_plan(whole) if "plan" in whole else None,
        preset=_preset(whole) if "preset" in whole else None,
        about=_about(model, repo) if any(key in model for key in _ABOUT) else None,
    )


def _known_keys(table: Table, name: str) -> Table:
    table.refuse_unknown(TABLES[name])
    return table


def _about(model: Table, repo: str) -> KnownModel:
    return KnownModel(
        repo=repo,
        title=model.text("title"),
        architecture=model.text("architecture"),
        license=model.text("license"),
        context=model.natural("context"),
        languages=model.texts("languages"),
        offered=model.flag("offered"),
        memory_gb=model.natural("memory_gb"),
        role=_role(model),
        reason=model.text("reason"),
    )


def _role(model: Table) -> Role:
    text = model.text("role")
    if text not in list(Role):
        raise BadFileError(
            model.path,
            msg("model.role is {text!r}", text=text[:80]),
            hint=msg("known here: {known}", known=", ".join(Role)),
        )
    return Role(text)


def _outputs(whole: Table) -> tuple[QuantizeRecipe, ...]:
    tables = whole.tables("quantize")
    if len(tables) > _MOST_OUTPUTS:
        raise whole.bad("quantize", msg("more than {most} files", most=_MOST_OUTPUTS))
    outputs = tuple(_output(_known_keys(table, "quantize")) for table in tables if table.content)
    types = [output.type for output in outputs]
    if twice := next((type_ for type_ in types if types.count(type_) > 1), None):
        raise whole.bad("quantize", msg("{type} is made twice", type=twice.name))
    return outputs


def _output(table: Table) -> QuantizeRecipe:
    types = table.table("tensor_types")
    return QuantizeRecipe(
        _type(table, "type", QuantType.parse),
        table.path.parent / table.text("imatrix") if "imatrix" in table else None,
        _type(table, "output_type", TensorType.parse) if "output_type" in table else None,
        _type(table, "embedding_type", TensorType.parse) if "embedding_type" in table else None,
        table.flag("pure"),
        tuple((pattern, _type(types, pattern, TensorType.parse)) for pattern in types.content),
    )


def _type(table: Table, key: str, parse: Callable[[str], _Type]) -> _Type:
    try:
        return parse(table.text(key))
    except UsageError as error:
        raise table.bad(key, error.message, hint=error.hint) from None


def _calibration(whole: Table) -> Calibration:
    table = _known_keys(whole.table("calibration"), "calibration")
    return Calibration(
        _text_file(table),
        reader=_type(table, "reader", QuantType.parse) if "reader" in table else None,
        chunks=table.natural("chunks") if "chunks" in table else None,
        n_ctx=_n_ctx(table),
    )


def _checks(whole: Table) -> Checks:
    table = _known_keys(whole.table("checks"), "checks")
    found = Checks(
        _text_file(table),
        chunks=table.natural("chunks") if "chunks" in table else None,
        n_ctx=_n_ctx(table),
        against=_type(table, "against", QuantType.parse) if "against" in table else None,
        max_perplexity=table.number("max_perplexity", 1) if "max_perplexity" in table else None,
        max_kld=table.number("max_kld", 0) if "max_kld" in table else None,
        min_agreement=table.number("min_agreement", 0, 1) if "min_agreement" in table else None,
    )
    if found.against is None:
        for key in ("max_kld", "min_agreement"):
            if key in table:
                raise table.bad(
                    key,
                    msg("it needs the type to compare with"),
                    hint=msg('such as against = "bf16"'),
                )
    return found


def _plan(whole: Table) -> PlanRecipe:
    table = _known_keys(whole.table("plan"), "plan")
    return PlanRecipe(
        n_ctx=table.natural("n_ctx") if "n_ctx" in table else None,
        n_gpu_layers=round(table.number("n_gpu_layers", -1, 1 << 16))
        if "n_gpu_layers" in table
        else None,
        type_k=table.text("type_k") if "type_k" in table else None,
        type_v=table.text("type_v") if "type_v" in table else None,
    )


def _preset(whole: Table) -> PresetRecipe:
    return PresetRecipe(_known_keys(whole.table("preset"), "preset").content)


def _text_file(table: Table) -> Path | None:
    name = table.text("text")
    return None if name == WIKITEXT2 else table.path.parent / name


def _n_ctx(table: Table) -> int:
    if "n_ctx" not in table:
        return 512
    return round(table.number("n_ctx", _LEAST_CONTEXT, _MOST_CONTEXT))
