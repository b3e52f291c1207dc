"""Stands for a backend: speaks its protocol, and writes checkpoints of the right shapes.

What else it does is said by FAKE_BACKEND: "crash", "hang", "nonsense", "noise", "orphan" (starts a
process that outlives it), "memory", "disk", "architecture", "import", "half" (dies while it saves),
"damaged" (saves parts that do not go together), "nan", "mute" (no tokens), "far".
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.checkpoints import RawTensor, read_safetensors, write_safetensors

MODE = os.environ.get("FAKE_BACKEND", "")


def say(event: str, **values: Any) -> None:
    print(json.dumps({"event": event, **values}), flush=True)


def quantize(request: dict[str, Any]) -> None:
    say("stage", name="start")
    say("versions", values={"fake": "1.0"})
    calibration = Path(request["calibration"]).read_text(encoding="utf-8")
    say("calibration", samples=request["samples"], tokens=len(calibration.split()))
    if MODE == "crash":
        print("Segmentation fault, or so", file=sys.stderr)
        os._exit(139)
    if MODE in ("hang", "orphan"):
        if MODE == "orphan":
            sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            Path(os.environ["FAKE_PIDS"]).write_text(f"{os.getpid()} {sleeper.pid}")
        say("stage", name="quantize")
        time.sleep(600)
    if MODE == "nonsense":
        print("loading...", flush=True)
    if MODE == "noise":
        print("a bar " * 10_000, file=sys.stderr)
    if MODE in ("memory", "disk", "architecture", "import"):
        say("failed", kind=MODE, text=f"what the backend says of {MODE}")
        os._exit(1)
    write(request)
    say("done", seconds=1.5, peak_vram=0, peak_ram=1000)


def write(request: dict[str, Any]) -> None:
    source, output = Path(request["source"]), Path(request["output"])
    output.mkdir()
    bits, group = request["bits"], request["group_size"]
    made: dict[str, RawTensor] = {}
    layers = 0
    for name, (dtype, shape, data) in read_safetensors(source / "model.safetensors").items():
        kept = any(pattern in name for pattern in request["keep"])
        if ".layers." not in name or len(shape) != 2 or kept:
            made[name] = (dtype, shape, data)
            continue
        outputs, inputs = shape
        groups = inputs // group if group > 0 else 1
        module = name.removesuffix(".weight")
        layers = max(layers, int(name.split(".layers.")[1].split(".")[0]) + 1)
        if request["method"] == "gptq":
            packed = (inputs * bits // 32, outputs)
            made[f"{module}.g_idx"] = ("I32", (inputs,), bytes(4 * inputs))
        else:
            packed = (inputs, outputs * bits // 32)
        zeros = (groups, outputs * bits // 32)
        made[f"{module}.qweight"] = ("I32", packed, bytes(4 * packed[0] * packed[1]))
        made[f"{module}.qzeros"] = ("I32", zeros, bytes(4 * zeros[0] * zeros[1]))
        made[f"{module}.scales"] = ("F16", (groups, outputs), bytes(2 * groups * outputs))
    for layer in range(layers):
        say("part", layer=layer + 1, total=layers, stage="quant_start", names="q_proj")
        say("layer", done=layer + 1, total=layers, seconds=0.1, vram=0)
    say("losses", values={"0.self_attn.q_proj": 0.5})
    say("stage", name="save")
    if MODE == "damaged":
        made = {name: tensor for name, tensor in made.items() if not name.endswith("qzeros")}
    write_safetensors(output / "model.safetensors", made, {"format": "pt"})
    if MODE == "half":
        os._exit(1)
    told = {
        "quant_method": request["method"],
        "bits": bits,
        "group_size": group,
        "sym": request["sym"],
        "zero_point": not request["sym"],
        "desc_act": request["desc_act"],
        "meta": {"offload_to_disk_path": request["scratch"]},
    }
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    (output / "config.json").write_text(json.dumps(config | {"quantization_config": told}))
    (output / "quantize_config.json").write_text(json.dumps(told))
    (output / "tokenizer.json").write_text("{}")


def check(request: dict[str, Any]) -> None:
    say("stage", name="reload")
    found: dict[str, Any] = {"finite": MODE != "nan", "generated": 0 if MODE == "mute" else 8}
    if request["compare"]:
        found |= {
            "cosine": 0.01 if MODE == "far" else 0.99,
            "same_top": 0.9,
            "perplexity": 11.0,
            "original_perplexity": 10.0,
        }
    say("done", **found)


if __name__ == "__main__":
    request = json.loads(Path(sys.argv[-1]).read_text(encoding="utf-8"))
    {"quantize": quantize, "check": check}[request["task"]](request)
