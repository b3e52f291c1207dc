"""localq: get a language model running on your own machine.

    import localq

    localq.pull("HuggingFaceTB/SmolLM2-135M-Instruct")
    localq.model_path("SmolLM2-135M-Instruct:Q4_0")   # for LangChain, llama-cpp-python, scripts
    localq.plan("SmolLM2-135M-Instruct:Q4_0").n_threads   # how it is best loaded on this machine
    localq.evaluate("SmolLM2-135M-Instruct:Q4_0", text="text.txt").models[0].perplexity.value
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
    from pathlib import Path

    from localq.library import Library, Model
    from localq.planning.offload_plan import OffloadPlan
    from localq.quality.results import Evaluation
    from localq.services.chat.python_chat import Chat
    from localq.services.int4.request import Int4Result
    from localq.services.pull.pull import PullResult
    from localq.services.quality.recommend import RecommendedMethod

__all__ = [
    "Library",
    "Model",
    "__version__",
    "chat",
    "evaluate",
    "langchain_args",
    "model_path",
    "plan",
    "pull",
    "quantize_int4",
    "recommend",
]


def model_path(name: str | None = None) -> str:
    """The absolute path of a GGUF model of the library, as LangChain's `LlamaCpp` wants it.

    `name` may leave out the organisation, the quantization and capitals; without it, the model
    pulled, made or used last. Raises `localq.errors.NotFoundError` where there is none.
    """
    from localq.library import Library
    from localq.services.library.locate import locate_gguf

    with Library() as library:
        return str(locate_gguf(library, name).path)


def pull(spec: str | None = None, *, force: bool = False) -> PullResult:
    """Fetch a model into the library, as `localq pull` does: what has arrived is kept, and each
    byte is verified.

    `spec` is OWNER/NAME[@REVISION][:QUANT or :FILE.gguf] or "demo"; None: what the `localq.toml` in
    the current folder says, else what this machine is recommended. `force` reads what is here
    again. Raises a `localq.errors.LocalqError` that says what is wrong.
    """
    import threading

    from localq.events import ignore
    from localq.library import Library
    from localq.services.jobs.jobs import recorded
    from localq.services.jobs.kinds.pull import PullKind
    from localq.services.pull.pull import PullRequest

    with Library() as library:
        request = PullRequest(spec, force=force)
        return recorded(PullKind(), library, request, ignore, threading.Event())


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
    effort: str | None = None,
    **options: Any,
) -> Chat:
    """Load a model to talk with, in a `with` block; `reply(text)` gives the pieces of an answer.

    `model` is a name or a .gguf file; None: the one used last. `preset` is one of `localq presets`,
    `n_ctx` in tokens, `effort` how much is thought ("low", "high", ...) where a model can be told,
    and `options` fields of `localq.engine.SamplingParams`, such as temperature.
    Nothing of it is kept on disk. Errors are those of `localq.errors`.
    """
    from localq.services.chat.python_chat import Chat

    return Chat(
        model, system=system, preset=preset, n_ctx=n_ctx, think=think, effort=effort, **options
    )


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


def evaluate(
    *models: str,
    text: Path | str | None = None,
    against: str | None = None,
    n_ctx: int = 512,
    chunks: int | None = None,
    until: float | None = None,
) -> Evaluation:
    """Perplexity of GGUF models, and with `against` their divergence from that one, as
    llama-perplexity computes them and `localq eval` shows them.

    `text` is a file to read (None: WikiText-2's test text), in chunks of `n_ctx` tokens, at most
    `chunks` of them; `until` stops as soon as the standard error of every perplexity is at most
    such a share of it. Raises a `localq.errors.LocalqError` that says what is wrong.
    """
    import threading
    from pathlib import Path

    from localq.events import ignore
    from localq.library import Library
    from localq.services.quality.evaluate import EvaluateRequest
    from localq.services.quality.evaluate import evaluate as evaluate_models

    request = EvaluateRequest(
        models, None if text is None else Path(text), against, n_ctx, chunks, until
    )
    with Library() as library:
        return evaluate_models(library, request, ignore, threading.Event())


def recommend(
    model: str | None = None,
    *,
    use: str = "personal",
    priority: str = "quality",
    hardware: str | None = None,
) -> RecommendedMethod:
    """How to quantize a model of the library (None: any) for this machine, or for `hardware`
    ("cpu", "gpu", "hybrid"): what `localq recommend` shows.

    `use` is "production", "research" or "personal", `priority` "quality", "speed" or "size";
    ValueError for others.
    """
    import threading

    from localq.library import Library
    from localq.planning.method_choice import Hardware, Priority, Use
    from localq.services.quality.recommend import RecommendRequest
    from localq.services.quality.recommend import recommend as recommend_method

    request = RecommendRequest(
        model, Use(use), Priority(priority), Hardware(hardware) if hardware else None
    )
    with Library() as library:
        return recommend_method(library, request, threading.Event())


def quantize_int4(model: str | None = None, method: str = "gptq", **options: Any) -> Int4Result:
    """Quantize a checkpoint by "gptq" or "awq", as `localq quantize gptq` does, and enter what
    comes out into the library.

    `model` is a name or a checkpoint folder; None: that of the model used last. `options` are
    fields of `localq.services.int4.request.Int4Request` (bits, group_size, keep, calib, device,
    ...). ValueError for another method, TypeError for an option that there is not; a
    `localq.errors.LocalqError` says what else is wrong.
    """
    import threading

    from localq.events import ignore
    from localq.gpu_quant.options import Method
    from localq.library import Library
    from localq.services.int4.request import Int4Request
    from localq.services.jobs.jobs import recorded
    from localq.services.jobs.kinds.int4 import Int4Kind

    request = Int4Request(Method(method.lower()), model, **options)
    with Library() as library:
        return recorded(Int4Kind(), library, request, ignore, threading.Event())


def __getattr__(name: str) -> object:
    if name in ("Library", "Model"):
        from localq import library

        return getattr(library, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
