"""localq: get a language model running on your own machine.

    import localq

    localq.model_path("SmolLM2-135M-Instruct:Q4_0")   # for LangChain, llama-cpp-python, scripts
    localq.Library().models()

Everything here is loaded on first use, so `import localq` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from localq.version import __version__

if TYPE_CHECKING:
    from localq.library import Library, Model

__all__ = ["Library", "Model", "__version__", "model_path"]


def model_path(name: str | None = None) -> str:
    """The absolute path of a GGUF model of the library, as LangChain's `LlamaCpp` wants it.

    `name` may leave out the organisation, the quantization and capitals; without it, the model
    pulled, made or used last. Raises `localq.errors.NotFoundError` where there is none.
    """
    from localq.library import Library
    from localq.services.locate import locate_gguf

    with Library() as library:
        return str(locate_gguf(library, name).path)


def __getattr__(name: str) -> object:
    if name in ("Library", "Model"):
        from localq import library

        return getattr(library, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
