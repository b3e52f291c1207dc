"""Ask the installed llama.cpp what a GGUF takes: `python -m tests.memory_probe FILE`.

Settings come in as JSON lines, sizes in bytes go out as such. llama.cpp lays out the model and
the graph but allocates nothing, so that any size can be measured anywhere.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from localq.engine.bindings import llama_cpp
from localq.engine.memory_report import buffer_memory
from localq.formats.types import TensorType

__all__ = ["main"]

_CACHE = re.compile(r": size = +(\d+\.\d+) MiB \(")


def main() -> None:
    """Answer until there are no more lines."""
    api = llama_cpp()
    log: list[str] = []

    def keep(_level: int, text: bytes, _data: object) -> None:
        log.append(text.decode("utf-8", "replace"))

    callback = api.llama_log_callback(keep)
    api.llama_log_set(callback, None)
    api.llama_backend_init()
    params = api.llama_model_default_params()
    params.no_alloc = True
    params.load_mode = api.LLAMA_LOAD_MODE_NONE
    params.n_gpu_layers = 0
    model = api.llama_model_load_from_file(os.fsencode(Path(sys.argv[1])), params)
    if not model:
        raise SystemExit("".join(log)[-1000:])
    _say({"weights": api.llama_model_size(model)})
    for index, line in enumerate(sys.stdin):
        log.clear()
        context = api.llama_init_from_model(model, _params(api, json.loads(line)))
        if not context:
            _say({"index": index, "refused": "".join(log)[-300:]})
            continue
        lines = "".join(log).splitlines()
        memory = buffer_memory(lines)
        cache = sum(round(float(m[1]) * (1 << 20)) for m in map(_CACHE.search, lines) if m)
        _say(
            {
                "index": index,
                "cache": cache,
                "compute": sum(buffer.compute_bytes for buffer in memory),
            }
        )
        api.llama_free(context)


def _params(api: Any, setting: dict[str, Any]) -> Any:
    params = api.llama_context_default_params()
    params.n_ctx = setting["n_ctx"]
    params.n_batch = 2048
    params.n_ubatch = setting["n_ubatch"]
    params.n_seq_max = setting["n_seq"]
    params.n_outputs_max = setting["n_outputs"]
    params.kv_unified = setting["n_seq"] > 1
    params.type_k = TensorType.parse(setting["kv"]).ggml_id
    params.type_v = TensorType.parse(setting["values"] or setting["kv"]).ggml_id
    params.flash_attn_type = (
        api.LLAMA_FLASH_ATTN_TYPE_ENABLED
        if setting["flash"]
        else api.LLAMA_FLASH_ATTN_TYPE_DISABLED
    )
    params.swa_full = False
    return params


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
