"""One recipe file.

    [model]
    repo = "HuggingFaceTB/SmolLM2-135M-Instruct"   # the only key that must be there
    revision = "main"

    [quantize]
    type = "q4_0"
    imatrix = "imatrix.gguf"            # from the recipe's folder
    output_type = "q8_0"
    embedding_type = "q8_0"
    pure = false
    tensor_types = { attn_v = "q6_k" }  # of several patterns that match, the first counts

Only `type` must be there if the table is. The recipes that localq carries also describe their
model under [model]; see `KnownModel`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from localq.errors import BadFileError, NotFoundError, UsageError
from localq.formats.types import QuantType, TensorType
from localq.messages import msg

__all__ = ["RECIPE_FILE", "KnownModel", "QuantizeRecipe", "Recipe", "Role", "load_recipe"]

RECIPE_FILE = "localq.toml"
"""What a recipe is called in a folder of the user's."""

_MAX_BYTES = 1 << 20
_TABLES = ("model", "quantize")
_ABOUT = (
    *("title", "architecture", "license", "context", "languages"),
    *("offered", "memory_gb", "role", "reason"),
)
_MODEL_KEYS = ("repo", "revision", *_ABOUT)
_QUANTIZE_KEYS = ("type", "imatrix", "output_type", "embedding_type", "pure", "tensor_types")

T = TypeVar("T")


class Role(StrEnum):
    """What a known model is taken for."""

    GENERAL = "general"
    SMALL = "small"
    CODING = "coding"
    CHINESE = "chinese"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """What is known about a model before asking the Hub."""

    repo: str
    title: str
    architecture: str
    """As its config.json names it."""
    license: str
    """As the Hub writes it: "apache-2.0"."""
    context: int
    """Tokens it was trained to see."""
    languages: tuple[str, ...]
    """ISO 639-1 codes."""
    offered: bool
    """Whether it is proposed to who asks for no certain model."""
    memory_gb: int
    """The memory of the machines that it is meant for."""
    role: Role
    reason: str
    """Why this one and no other, in English."""


@dataclass(frozen=True, slots=True)
class QuantizeRecipe:
    """How the model is to be quantized; the fields are the options of `localq quantize`."""

    type: QuantType
    imatrix: Path | None = None
    output_type: TensorType | None = None
    embedding_type: TensorType | None = None
    pure: bool = False
    tensor_types: tuple[tuple[str, TensorType], ...] = ()


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe and the file it came from."""

    path: Path
    repo: str
    revision: str | None
    quantize: QuantizeRecipe | None
    about: KnownModel | None


def load_recipe(path: Path) -> Recipe:
    """Read a recipe. NotFoundError, or BadFileError that names the file and the key."""
    content = _read(path)
    _refuse_unknown(path, content, _TABLES, "")
    model = _Table(path, "model", _value(path, content, "model", dict, ""))
    quantize = _Table(path, "quantize", _value(path, content, "quantize", dict, "", default={}))
    _refuse_unknown(path, model.content, _MODEL_KEYS, "model.")
    _refuse_unknown(path, quantize.content, _QUANTIZE_KEYS, "quantize.")
    repo = model.text("repo")
    revision = model.text("revision") if "revision" in model.content else None
    about = _about(model, repo) if any(key in model.content for key in _ABOUT) else None
    return Recipe(path, repo, revision, _quant(quantize), about)


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise BadFileError(path, msg("too large for a recipe"))
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFoundError(msg("{path}: no such recipe", path=path)) from None
    except OSError as error:
        raise BadFileError(
            path, msg("cannot be read: {strerror}", strerror=error.strerror or error)
        ) from error
    except (ValueError, RecursionError) as error:  # not TOML, or not UTF-8
        raise BadFileError(path, msg("not a recipe: {error}", error=error)) from None


@dataclass(frozen=True, slots=True)
class _Table:
    """One table of the file, whose keys are read with the type they must have."""

    path: Path
    name: str
    content: Mapping[str, Any]

    def text(self, key: str) -> str:
        value = self._value(key, str)
        if not value.strip() or not value.isprintable():
            raise BadFileError(
                self.path, msg("{name}.{key} holds no text", name=self.name, key=key)
            )
        return value

    def natural(self, key: str) -> int:
        value = self._value(key, int)
        if isinstance(value, bool) or value <= 0:
            raise BadFileError(
                self.path, msg("{name}.{key} must be a number above 0", name=self.name, key=key)
            )
        return value

    def flag(self, key: str) -> bool:
        """False where it is not there."""
        return _value(self.path, self.content, key, bool, f"{self.name}.", default=False)

    def table(self, key: str) -> Mapping[str, Any]:
        """Empty where it is not there."""
        return _value(self.path, self.content, key, dict, f"{self.name}.", default={})

    def texts(self, key: str) -> tuple[str, ...]:
        values = self._value(key, list)
        if not values or not all(isinstance(value, str) for value in values):
            raise BadFileError(
                self.path, msg("{name}.{key} must be a list of texts", name=self.name, key=key)
            )
        return tuple(values)

    def _value(self, key: str, kind: type[T]) -> T:
        return _value(self.path, self.content, key, kind, f"{self.name}.")


def _about(model: _Table, repo: str) -> KnownModel:
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


def _role(model: _Table) -> Role:
    text = model.text("role")
    if text not in list(Role):
        raise BadFileError(
            model.path,
            msg("model.role is {text!r}", text=text[:80]),
            hint=msg("known here: {known}", known=", ".join(Role)),
        )
    return Role(text)


def _quant(quantize: _Table) -> QuantizeRecipe | None:
    if not quantize.content:
        return None
    try:
        type_ = QuantType.parse(quantize.text("type"))
    except UsageError as error:
        raise BadFileError(
            quantize.path, msg("quantize.type: {message}", message=error.message), hint=error.hint
        ) from None
    types = _Table(quantize.path, "quantize.tensor_types", quantize.table("tensor_types"))
    return QuantizeRecipe(
        type_,
        quantize.path.parent / quantize.text("imatrix") if "imatrix" in quantize.content else None,
        _tensor_type(quantize, "output_type"),
        _tensor_type(quantize, "embedding_type"),
        quantize.flag("pure"),
        tuple((pattern, _required_type(types, pattern)) for pattern in types.content),
    )


def _tensor_type(table: _Table, key: str) -> TensorType | None:
    return _required_type(table, key) if key in table.content else None


def _required_type(table: _Table, key: str) -> TensorType:
    try:
        return TensorType.parse(table.text(key))
    except UsageError as error:
        problem = msg(
            "{name}.{key}: {message}", name=table.name, key=key[:80], message=error.message
        )
        raise BadFileError(table.path, problem, hint=error.hint) from None


def _value(
    path: Path,
    content: Mapping[str, Any],
    key: str,
    kind: type[T],
    prefix: str,
    *,
    default: T | None = None,
) -> T:
    value = content.get(key, default)
    if value is None:
        raise BadFileError(path, msg("{prefix}{key} is missing", prefix=prefix, key=key))
    if not isinstance(value, kind):
        raise BadFileError(
            path, msg("{prefix}{key} must be {kinds}", prefix=prefix, key=key, kinds=_KINDS[kind])
        )
    return value


_KINDS = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


def _refuse_unknown(
    path: Path, content: Mapping[str, Any], known: tuple[str, ...], prefix: str
) -> None:
    if unknown := sorted(set(content) - set(known)):
        raise BadFileError(
            path,
            msg(
                "{prefix}{unknown} is not a key of recipes", prefix=prefix, unknown=unknown[0][:80]
            ),
            hint=msg("known here: {known}", known=", ".join(known)),
        )
