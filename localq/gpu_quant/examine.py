"""Run by an environment's Python: what is in it, and what of it loads. One line of JSON at the end.

A script: `python examine.py MODULE...`. What the modules print while they load goes to stderr.
"""

import importlib
import json
import os
import sys
import time
from importlib import metadata
from typing import Any


def _load(name: str) -> dict[str, Any]:
    began = time.monotonic()
    try:
        importlib.import_module(name)
    except BaseException as error:
        text = " ".join(str(error).split())[:300]
        return {"error": f"{type(error).__name__}: {text}", "seconds": time.monotonic() - began}
    return {"error": None, "seconds": time.monotonic() - began}


def _torch() -> dict[str, Any] | None:
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "__version__"):
        return None
    cuda = torch.cuda.is_available()
    gpus = [
        {
            "name": torch.cuda.get_device_name(index),
            "capability": list(torch.cuda.get_device_capability(index)),
        }
        for index in range(torch.cuda.device_count() if cuda else 0)
    ]
    return {
        "version": str(torch.__version__),
        "cuda": torch.version.cuda,
        "cuda_available": cuda,
        "gpus": gpus,
    }


def main(modules: list[str]) -> None:
    answer = os.dup(1)
    os.dup2(2, 1)
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
    # Before anything is loaded: setuptools shows copies of its own of other packages.
    packages = {str(one.metadata["Name"]).lower(): one.version for one in metadata.distributions()}
    loaded = {name: _load(name) for name in modules}
    found = {
        "python": ".".join(map(str, sys.version_info[:3])),
        "packages": packages,
        "imports": loaded,
        "torch": _torch(),
    }
    os.write(answer, json.dumps(found).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(0)  # libraries leave threads behind that do not want to end
