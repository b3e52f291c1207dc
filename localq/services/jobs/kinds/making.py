"""What `quantize` and `convert` have in common as jobs: both make a GGUF of a model."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from localq.errors import LocalqError
from localq.library import Library
from localq.services.jobs.kind import JobKind
from localq.services.jobs.settling import full_name
from localq.services.jobs.unfinished import drop_unfinished
from localq.services.make.convert import ConvertRequest
from localq.services.make.quantize import QuantizeRequest, QuantizeResult

__all__ = ["MakingKind"]

Request = TypeVar("Request", QuantizeRequest, ConvertRequest)


class MakingKind(JobKind[Request, QuantizeResult]):
    @abstractmethod
    def target(self, library: Library, request: Request) -> Path:
        """The file to make, whether it is there or not."""

    def made(self, result: QuantizeResult) -> str:
        return result.name or str(result.path)

    def settled(self, library: Library, request: Request) -> Request:
        return replace(request, model=full_name(library, request.model, library.find_checkpoint))

    def folders(self, library: Library, request: Request) -> set[Path]:
        return {self.target(library, request).parent}

    def drop_partials(self, library: Library, request: Request) -> int:
        try:
            return drop_unfinished(self.target(library, request))
        except LocalqError:
            return 0  # the model is gone, and with it the folder of its files
