"""localq: get a language model running on your own machine.

    import localq

    localq.model_path("SmolLM2-135M-Instruct:Q4_0")   # for LangChain, llama-cpp-python, scripts
    localq.plan("SmolLM2-135M-Instruct:Q4_0").n_threads   # how it is best loaded on this machine
    localq.Library().models()

    with localq.chat("SmolLM2-135M-Instruct:Q4_0") as chat:
        for piece in chat.reply("Hello"):
            print(piece, end="", flush=True)

Everything here is loaded on first use, so `import localq` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from localq.version import __version__

if TYPE_CHECKING:
    from localq.library import Library, Model
    from localq.planning.offload_plan import OffloadPlan
    from localq.services.chat.python_chat import Chat

__all__ = ["Library", "Model", "__version__", "chat", "langchain_args", "model_path", "plan"]


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


def chat(
    model: str | None = None,
    *,
    system: str | None = None,
    preset: str | None = None,
    n_ctx: int | None = None,
    think: bool | None = None,
    **options: Any,
) -> Chat:
    """Load a model to talk with, in a `with` block; `reply(text)` gives the pieces of an answer.

    `model` is a name or a .gguf file; None: the one used last. `preset` is one of `localq presets`,
    `n_ctx` in tokens, and `options` fields of `localq.engine.SamplingParams`, such as temperature.
    Nothing of it is kept on disk. Errors are those of `localq.errors`.
    """
    from localq.services.chat.python_chat import Chat

    return Chat(model, system=system, preset=preset, n_ctx=n_ctx, think=think, **options)


def langchain_args(name: str | None = None, *, n_ctx: int | None = None) -> dict[str, Any]:
    """Keyword arguments of langchain-community's `LlamaCpp` and `ChatLlamaCpp`: the model's path,
    and its context, layers, threads and batch as they are planned for this machine.

    `name` and `n_ctx` as of `plan`. EngineError where the model cannot run so.
    """
    from localq.library import Library
    from localq.planning.offload_plan import PlanOptions
    from localq.services.machine.plan import check_plan, plan_model
    from localq.services.machine.plan_arguments import langchain_arguments

    with Library() as library:
        planned = plan_model(library, name, PlanOptions(n_ctx=n_ctx))
    check_plan(planned)
    return langchain_arguments(planned.model.path, planned.plan)


def __getattr__(name: str) -> object:
    if name in ("Library", "Model"):
        from localq import library

        return getattr(library, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
