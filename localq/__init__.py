"""localq: get a language model running on your own machine.

    import localq

    localq.model_path("SmolLM2-135M-Instruct:Q4_0")   # for LangChain, llama-cpp-python, scripts
    localq.plan("SmolLM2-135M-Instruct:Q4_0").n_threads   # how it is best loaded on this machine
    localq.Library().models()

Everything here is loaded on first use, so `import localq` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from localq.version import __version__

if TYPE_CHECKING:
    from localq.library import Library, Model
    from localq.planning.offload_plan import OffloadPlan

__all__ = ["Library", "Model", "__version__", "model_path", "plan"]


def model_path(name: str | None = None) -> str:
    """The absolute path of a GGUF model of the library, as LangChain's `LlamaCpp` wants it.

    `name` may leave out the organisation, the quantization and capitals; without it, the model
    pulled, made or used last. Raises `localq.errors.NotFoundError` where there is none.
    """
    from localq.library import Library
    from localq.services.library.locate import locate_gguf

    with Library() as library:
        return str(locate_gguf(library, name).path)


def plan(name: str | None = None, *, n_ctx: int | None = None) -> OffloadPlan:
    """How a GGUF model of the library, or a .gguf file, is best loaded on this machine: context,
    layers on devices, threads, and the memory they take.

    Its fields are named as llama-cpp-python's parameters where it has them. `problem` says why
    a model cannot run; None: it can. `n_ctx` is in tokens; None: the plan chooses. What
    `localq plan --save` kept for the model holds here too.
    """
    from localq.library import Library
    from localq.planning.offload_plan import PlanOptions
    from localq.services.machine.plan import plan_model

    with Library() as library:
        return plan_model(library, name, PlanOptions(n_ctx=n_ctx)).plan


def __getattr__(name: str) -> object:
    if name in ("Library", "Model"):
        from localq import library

        return getattr(library, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
