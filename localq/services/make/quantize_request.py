"""What `quantize` is asked for, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localq.formats.types import QuantType, TensorType
from localq.library import Model
from localq.quantize.options import TypeRule, type_rule

if TYPE_CHECKING:
    from localq.recipes import QuantizeRecipe

__all__ = ["QuantizeRequest", "QuantizeResult", "request_by_recipe", "request_for_output"]


@dataclass(frozen=True, slots=True)
class QuantizeRequest:
    """`model` is a name, a checkpoint folder or a GGUF file (None: the model used last);
    `output` a file outside the library (None: into the library); `force` replaces a file that is
    there; `imatrix` an importance matrix, which the file calls `imatrix_name` (None: as llama.cpp
    does, by its path). The others are `QuantOptions`; `allow_requantize` lets
    a GGUF that is quantized already lose more; `split_bytes` cuts the output into files;
    `with_llama_cpp` lets llama.cpp's own converter read the checkpoint first; `projector` makes
    that of a checkpoint that sees, too."""

    type: QuantType
    model: str | None = None
    output: Path | None = None
    force: bool = False
    imatrix: Path | None = None
    rules: tuple[TypeRule, ...] = ()
    output_type: TensorType | None = None
    embedding_type: TensorType | None = None
    pure: bool = False
    allow_requantize: bool = False
    split_bytes: int | None = None
    with_llama_cpp: bool = False
    projector: bool = True
    imatrix_name: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the type alone says what comes out."""
        special = (self.imatrix, self.rules, self.output_type, self.embedding_type, self.pure)
        return not any((*special, self.split_bytes))


@dataclass(frozen=True, slots=True)
class QuantizeResult:
    """`name` is None for a file outside the library; `seconds` 0 where it was there already;
    `projector` is what was made with a model that sees."""

    name: str | None
    path: Path
    quant: str
    size_bytes: int
    parameters: int
    seconds: float
    already_there: bool = False
    projector: Path | None = None

    @classmethod
    def of_made(cls, model: Model) -> QuantizeResult:
        """That it was in the library already."""
        return cls(
            model.name,
            model.path,
            model.quant,
            model.size_bytes,
            model.parameters,
            seconds=0.0,
            already_there=True,
        )


def request_by_recipe(path: Path) -> QuantizeRequest:
    """What the recipe at `path` asks for; UsageError unless it is one file."""
    from localq.recipes import load_recipe

    recipe = load_recipe(path)
    return request_for_output(recipe.repo, recipe.output)


def request_for_output(model: str, output: QuantizeRecipe) -> QuantizeRequest:
    """What one [quantize] of a recipe asks to make of `model`."""
    return QuantizeRequest(
        output.type,
        model,
        imatrix=output.imatrix,
        rules=tuple(type_rule(pattern, type_) for pattern, type_ in output.tensor_types),
        output_type=output.output_type,
        embedding_type=output.embedding_type,
        pure=output.pure,
    )
