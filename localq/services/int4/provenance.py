"""What a checkpoint was made of and with, in a file beside its weights."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from localq.errors import LocalqError
from localq.formats.json_file import read_json_object
from localq.gpu_quant.calibration import Calibration
from localq.gpu_quant.checkpoint import PROVENANCE
from localq.library.hashes import hash_file
from localq.services.int4.plan import Int4Plan
from localq.services.int4.request import Int4Request
from localq.version import __version__

__all__ = ["made_with", "was_made_with", "write_provenance"]

_MAX_BYTES = 64 << 20


def made_with(
    plan: Int4Plan, request: Int4Request, calibration: Calibration, versions: Mapping[str, str]
) -> dict[str, Any]:
    """All that the result depends on, and when."""
    import threading

    weights = sorted(plan.source.path.glob("*.safetensors"))
    return {
        "made_by": f"localq {__version__}",
        "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "source": {
            "name": plan.source.name,
            "repo": plan.source.source.repo,
            "revision": plan.source.source.revision,
            "sha256": {path.name: hash_file(path, threading.Event()) for path in weights},
        },
        "backend": plan.backend.name,
        "versions": dict(versions),
        "options": _options(plan, request),
        "calibration": {
            "name": Path(calibration.name).name,
            "sha256": calibration.sha256,
            "samples": plan.samples,
            "length": request.calib_length,
            "seed": request.seed,
        },
        "device": plan.device,
    }


def write_provenance(
    folder: Path,
    made: Mapping[str, Any],
    *,
    losses: Mapping[str, float],
    seconds_per_layer: Sequence[float],
    measured: Mapping[str, int | float | bool],
) -> None:
    """Write the file; `losses` are by module, `measured` what the backend and the check found."""
    document = {
        **made,
        "measured": dict(measured),
        "seconds_per_layer": list(seconds_per_layer),
        "loss": dict(losses),
    }
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    (folder / PROVENANCE).write_text(text, encoding="utf-8")


def was_made_with(folder: Path, plan: Int4Plan, request: Int4Request) -> bool:
    """Whether the checkpoint in `folder` was made by such a request, as far as its file tells."""
    try:
        found = read_json_object(folder / PROVENANCE, max_bytes=_MAX_BYTES)
    except LocalqError:
        return False
    calibration = found.get("calibration")
    return (
        found.get("options") == _options(plan, request)
        and isinstance(calibration, dict)
        and calibration.get("length") == request.calib_length
        and calibration.get("samples") == plan.samples
        and (request.calib is None or calibration.get("name") == Path(request.calib).name)
    )


def _options(plan: Int4Plan, request: Int4Request) -> dict[str, Any]:
    options = plan.options
    return {
        "method": options.method.value,
        "bits": options.bits,
        "group_size": options.group_size,
        "desc_act": options.desc_act,
        "damp_percent": options.damp_percent,
        "symmetric": options.symmetric,
        "keep": list(options.keep),
        "backend": request.backend,
    }
