"""What quantizes: a library in an environment of its own, and the script that speaks for it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from localq.errors import NotFoundError, UsageError
from localq.gpu_quant.environments import Environment, find
from localq.gpu_quant.options import Method
from localq.messages import msg

__all__ = ["BACKENDS", "Backend", "PYTHON_VARIABLE", "backend_named", "environment_of"]

PYTHON_VARIABLE = "LOCALQ_BACKEND_PYTHON"
"""Names a Python with the backend's libraries, to be used instead of localq's environments."""

_CHILDREN = Path(__file__).parent / "children"


@dataclass(frozen=True, slots=True)
class Backend:
    """`environment` is the environment it runs in; `script` is run by its Python."""

    name: str
    methods: frozenset[Method]
    environment: str
    script: Path


BACKENDS = (
    Backend(
        "gptqmodel",
        frozenset(Method),
        "gptqmodel",
        _CHILDREN / "gptqmodel_child.py",
    ),
)


def backend_named(name: str, method: Method) -> Backend:
    """The backend of this name; UsageError where there is none, or it lacks the method."""
    found = next((backend for backend in BACKENDS if backend.name == name), None)
    if found is None:
        known = ", ".join(backend.name for backend in BACKENDS)
        raise UsageError(
            msg("there is no backend {name!r}", name=name), hint=msg("one of: {known}", known=known)
        )
    if method not in found.methods:
        raise UsageError(
            msg("{name} does not quantize by {method}", name=name, method=method.upper())
        )
    return found


def environment_of(backend: Backend) -> Environment:
    """Where it is installed; NotFoundError where it is not."""
    if given := os.environ.get(PYTHON_VARIABLE):
        python = Path(given).absolute()
        if not python.is_file():
            raise NotFoundError(
                msg("{variable}: {python}: no such file", variable=PYTHON_VARIABLE, python=python)
            )
        return Environment(backend.environment, python, python.parent.parent, {})
    found = find(backend.environment)
    if found is None:
        raise NotFoundError(
            msg("the backend {name} is not installed", name=backend.name),
            hint=msg("localq backend install {name}", name=backend.environment),
        )
    return found
