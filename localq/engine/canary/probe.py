"""The canary's own process: `python -m localq.engine.canary.probe [--variants]`.

It loads the engine in the mode that the environment names, as the worker does, lets the canary
read its tokens in one batch and one at a time, and answers with one line of JSON how far the
logits are from the right ones. A broken engine ends this process, and nothing else.
"""

from __future__ import annotations

import json
import math
import os
import sys
from array import array
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from typing import Any

from localq.engine.bindings import llama_cpp
from localq.engine.canary import LOGITS, MODEL, TOKENS
from localq.engine.llama_context import LlamaContext
from localq.engine.llama_log import LogTail
from localq.engine.llama_model import LlamaError, LlamaModel
from localq.engine.mode import EngineMode, chosen_mode
from localq.engine.settings import LoadSettings
from localq.engine.variants import cpu_variants, load_backends
from localq.errors import LocalqError

__all__ = ["deviation", "main"]

_THREADS = 2


def main() -> None:
    """Answer on what was stdout, and end the process without the libraries' destructors."""
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the libraries print is no part of the answer
    os.environ["GGML_NO_BACKTRACE"] = "1"  # it would start a debugger to print one
    _no_core_dump()
    value: dict[str, object]
    try:
        value = _variants() if "--variants" in sys.argv[1:] else _deviations()
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        value = {"error": f"llama.cpp cannot be loaded: {error}"}
    except LlamaError as error:
        value = {"error": f"the canary model cannot be loaded: {error}"}
    except LocalqError as error:
        value = {"error": error.message}
    with answer:
        answer.write(json.dumps(value).encode())
    os._exit(0)


def deviation(rows: bytes, expected: bytes) -> float:
    """How far logits (little-endian float32) are from the expected ones: the root mean square of
    the differences, as a share of the expected ones' own; infinite where they are no numbers."""
    got, right = _floats(rows), _floats(expected)
    if len(got) != len(right):
        return math.inf
    wrong = sum((a - b) ** 2 for a, b in zip(got, right, strict=True))
    whole = sum(b**2 for b in right)
    share = math.sqrt(wrong / whole)
    return share if math.isfinite(share) else math.inf


def _deviations() -> dict[str, object]:
    api = llama_cpp()
    log = LogTail(api)
    load_backends(api, chosen_mode() or EngineMode())
    api.llama_backend_init()
    expected = LOGITS.read_bytes()
    found = [deviation(_logits(api, log, n_batch), expected) for n_batch in (len(TOKENS), 1)]
    return {"deviation": min(max(found), sys.float_info.max)}


def _logits(api: Any, log: LogTail, n_batch: int) -> bytes:
    settings = LoadSettings(MODEL, n_ctx=len(TOKENS), n_batch=n_batch, n_threads=_THREADS)
    model = LlamaModel(api, settings, log)
    context = LlamaContext(model, settings, log)
    rows = BytesIO()
    context.write_logits(TOKENS, rows, lambda: False)
    context.close()
    model.close()
    return rows.getvalue()


def _variants() -> dict[str, object]:
    return {"variants": cpu_variants(llama_cpp())}


def _floats(data: bytes) -> Sequence[float]:
    values = array("f", data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _no_core_dump() -> None:
    """A crash is expected here, and no reason to fill the user's disk."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
