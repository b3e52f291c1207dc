"""What does by hand what a recipe does."""

from __future__ import annotations

import shlex
from pathlib import Path

from localq.library import Model
from localq.recipes import QuantizeRecipe, Recipe
from localq.recipes.recipe import WIKITEXT2
from localq.services.make.lossless import own_type
from localq.services.recipes.find import is_demo

__all__ = ["commands"]


def commands(recipe: Recipe, source: Model) -> tuple[str, ...]:
    """The command lines, in order."""
    revision = source.source.revision
    plain = revision is None or is_demo(recipe.repo)
    lines = [["localq", "pull", recipe.repo if plain else f"{recipe.repo}@{revision}"]]
    made = {output.type for output in recipe.outputs}
    imatrix = None
    if recipe.calibration is not None:
        calibration = recipe.calibration
        imatrix = Path(f"{recipe.path.stem}.imatrix.gguf")
        reader = calibration.reader or own_type(source)
        if reader not in made:
            lines.append(["localq", "quantize", reader.name.lower(), source.name])
        line = ["localq", "imatrix", f"{source.name}:{reader.name}"]
        line += ["--text", _text(calibration.text)]
        if calibration.chunks is not None:
            line += ["--chunks", str(calibration.chunks)]
        lines.append([*line, "-o", str(imatrix)])
    lines += [_quantize(output, source, imatrix) for output in recipe.outputs]
    checks = recipe.checks
    if checks is not None:
        if checks.against is not None and checks.against not in made:
            lines.append(["localq", "quantize", checks.against.name.lower(), source.name])
        names = [f"{source.name}:{output.type.name}" for output in recipe.outputs]
        line = ["localq", "eval", *names, "--text", _text(checks.text)]
        if checks.against is not None:
            line += ["--against", f"{source.name}:{checks.against.name}"]
        if checks.chunks is not None:
            line += ["--chunks", str(checks.chunks)]
        lines.append(line)
    return tuple(map(shlex.join, lines))


def _quantize(output: QuantizeRecipe, source: Model, imatrix: Path | None) -> list[str]:
    line = ["localq", "quantize", output.type.name.lower(), source.name]
    if weighed := output.imatrix or imatrix:
        line += ["--imatrix", weighed.name]
    for pattern, type_ in output.tensor_types:
        line += ["--tensor-type", f"{pattern}={type_.name.lower()}"]
    if output.output_type is not None:
        line += ["--output-type", output.output_type.name.lower()]
    if output.embedding_type is not None:
        line += ["--embedding-type", output.embedding_type.name.lower()]
    return [*line, "--pure"] if output.pure else line


def _text(path: Path | None) -> str:
    return WIKITEXT2 if path is None else path.name
