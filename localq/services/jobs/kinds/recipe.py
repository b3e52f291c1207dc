"""`recipe run` as a job."""

from __future__ import annotations

import threading

from localq.events import Emit
from localq.library import Library
from localq.messages import msg
from localq.recipes import load_recipe
from localq.services.consent import Consent
from localq.services.jobs.kind import JobKind
from localq.services.recipes.find import check_recipe
from localq.services.recipes.run import RecipeRequest, RecipeResult, run_recipe

__all__ = ["RecipeKind"]


class RecipeKind(JobKind[RecipeRequest, RecipeResult]):
    name = "recipe"
    request = RecipeRequest

    def work(
        self,
        library: Library,
        request: RecipeRequest,
        emit: Emit,
        cancel: threading.Event,
        consent: Consent,
    ) -> RecipeResult:
        return run_recipe(library, request, emit, cancel)

    def title(self, request: RecipeRequest) -> str:
        return msg("recipe {name}", name=request.recipe.name)

    def made(self, result: RecipeResult) -> str:
        return ", ".join(output.model for output in result.outputs) or result.repo

    def check(self, library: Library, request: RecipeRequest) -> None:
        check_recipe(load_recipe(request.recipe))
