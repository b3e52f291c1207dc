"""How a model of the library is used by other programs: texts to be copied. Pure functions."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localq.library import Model
    from localq.planning.offload_plan import OffloadPlan

__all__ = ["Snippet", "snippets"]

Snippet = tuple[str, str]
"""For whom it is, and the text."""

_PORT = 8080


def snippets(
    model: Model, flags: Sequence[str], arguments: dict[str, object], plan: OffloadPlan | None
) -> list[Snippet]:
    """`flags` and `arguments` are those of llama.cpp and LangChain for the model's plan; both are
    empty for a checkpoint, which has none."""
    if plan is None:
        return [("vLLM", f"vllm serve {shlex.quote(str(model.path))}"), ("path", str(model.path))]
    return [
        ("Python", _python(model)),
        ("LangChain", _langchain(arguments)),
        ("llama.cpp", shlex.join(["llama-server", *flags])),
        ("curl", _curl()),
        ("path", str(model.path)),
    ]


def _python(model: Model) -> str:
    return (
        "import localq\n"
        "from llama_cpp import Llama\n\n"
        f"llm = Llama(str(localq.model_path({model.name!r})))\n"
        'print(llm("Once upon a time", max_tokens=64)["choices"][0]["text"])\n'
    )


def _langchain(arguments: dict[str, object]) -> str:
    lines = "".join(f"    {name}={_literal(value)},\n" for name, value in arguments.items())
    return (
        "from langchain_community.llms import LlamaCpp\n\n"
        f"llm = LlamaCpp(\n{lines})\n"
        'print(llm.invoke("Once upon a time"))\n'
    )


def _literal(value: object) -> str:
    return repr(str(value)) if isinstance(value, Path) else repr(value)


def _curl() -> str:
    """Of the server that the flags of llama.cpp start."""
    return (
        f"curl http://127.0.0.1:{_PORT}/v1/chat/completions \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        """  -d '{"messages": [{"role": "user", "content": "Hello"}]}'\n"""
    )
