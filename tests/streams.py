"""What the tests of `localq pull --as` share."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import localq
from localq.events import Emit, ignore
from localq.formats.types import QuantType
from localq.hub.backoff import RetryPolicy
from localq.library import Library
from localq.paths import Paths
from localq.services.make.quantize import QuantizeRequest, quantize
from localq.services.pull.stream import PullAsRequest, PullAsResult, pull_as
from tests.checkpoints import RawTensor, read_safetensors, write_safetensors
from tests.hub_server import HubServer

__all__ = [
    "DEMO",
    "HEADER_BYTES",
    "demo_in_shards",
    "eventually",
    "on_disk",
    "quantized",
    "reshard",
    "run",
    "weights_sent",
]

DEMO = Path(localq.__file__).parent / "demo" / "stories260K"
HEADER_BYTES = 128 << 10
"""What is fetched of a shard to see its header."""


def reshard(folder: Path, shard_of: Callable[[int, str], int]) -> Path:
    """Deal the tensors of a checkpoint out to other shards, in the order they are in."""
    tensors: dict[str, RawTensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= read_safetensors(path)
        path.unlink()
    shards: dict[int, dict[str, RawTensor]] = {}
    for number, (name, tensor) in enumerate(tensors.items()):
        shards.setdefault(shard_of(number, name), {})[name] = tensor
    weight_map: dict[str, str] = {}
    for number, shard in shards.items():
        file = f"model-{number + 1:05}-of-{len(shards):05}.safetensors"
        write_safetensors(folder / file, shard)
        weight_map |= dict.fromkeys(shard, file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def demo_in_shards(folder: Path) -> Path:
    """The demo in three shards of some 370 kB."""
    shutil.copytree(DEMO, folder)
    return reshard(folder, lambda number, name: number * 3 // 48)


def run(
    library: Library,
    type_: QuantType = QuantType.Q4_0,
    *,
    emit: Emit = ignore,
    spec: str = "org/tiny",
    force: bool = False,
    cancel: threading.Event | None = None,
) -> PullAsResult:
    """Pull it, with hardly a wait between two tries."""
    request = PullAsRequest(spec, type_, force)
    policy = RetryPolicy(first_delay=0.01)
    return pull_as(library, request, emit, cancel or threading.Event(), policy=policy)


def quantized(library: Library, checkpoint: Path, type_: QuantType = QuantType.Q4_0) -> bytes:
    """What `quantize` makes of the checkpoint, which lies in a folder of the repository's name."""
    target = checkpoint.parent / "expected.gguf"
    request = QuantizeRequest(type_, str(checkpoint), target, force=True)
    return quantize(library, request, ignore, threading.Event()).path.read_bytes()


def on_disk(home: Paths) -> list[str]:
    """All files of the home but the database and locks."""
    files = (path for path in (home.data.parent).rglob("*") if path.is_file())
    return sorted(
        path.name
        for path in files
        if not path.name.startswith("localq.db") and not path.name.endswith(".lock")
    )


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it comes true: a server counts what it sent a moment after the client has it."""
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


def weights_sent(hub: HubServer) -> int:
    return sum(count for path, count in hub.sent.items() if path.endswith(".safetensors"))
