"""What localq could not use is refused before its weights are fetched."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localq.errors import BadFileError, LocalqError, NotFoundError, UnsupportedError
from localq.events import ignore
from localq.library import Library, ModelFormat
from localq.paths import Paths
from localq.services.library.verify import verify
from localq.services.pull.pull import PullRequest, pull
from tests.checkpoints import (
    SMOLLM2_CONFIG,
    RawTensor,
    bf16_bytes,
    write_llama_checkpoint,
    write_safetensors,
)
from tests.hub_server import HubServer
from tests.torch_files import write_torch

CONFIG = {**SMOLLM2_CONFIG, "vocab_size": 512, "num_hidden_layers": 2}
WEIGHTS = "model.safetensors"
HEADER_BYTES = 128 << 10
"""The most that is fetched of weights to look at their header."""


def refused(library: Library, home: Paths, kind: type[LocalqError], says: str) -> str | None:
    with pytest.raises(kind, match=says) as caught:
        pull(library, PullRequest("org/name"), ignore, threading.Event())
    assert str(home.data) not in caught.value.message
    assert library.models() == []
    assert not home.partial.exists() or not any(p.is_file() for p in home.partial.rglob("*"))
    return caught.value.hint


def packed(folder: Path, method: dict[str, Any] | None, tensors: Mapping[str, RawTensor]) -> Path:
    """A checkpoint whose weights are 4 MB of packed matrices."""
    folder.mkdir(exist_ok=True)
    config = CONFIG | ({"quantization_config": method} if method else {})
    (folder / "config.json").write_text(json.dumps(config))
    rest = {"model.norm.weight": ("BF16", (2 << 20,), bytes(4 << 20))}
    write_safetensors(folder / WEIGHTS, {**tensors, **rest})
    return folder


@pytest.mark.parametrize(
    ("method", "tensors"),
    [
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True},
            {"model.layers.0.mlp.up_proj.weight": ("U8", (512, 1), bytes(512))},
        ),
        (
            {"quant_method": "bitsandbytes", "load_in_8bit": True},
            {"model.layers.0.mlp.up_proj.weight": ("I8", (64, 64), bytes(4096))},
        ),
        (
            {"quant_method": "compressed-tensors", "format": "pack-quantized"},
            {"model.layers.0.mlp.up_proj.weight_packed": ("I32", (64, 8), bytes(2048))},
        ),
    ],
    ids=["bnb4", "bnb8", "packed"],
)
def test_quantized_checkpoints(
    library: Library,
    hub: HubServer,
    home: Paths,
    tmp_path: Path,
    method: dict[str, Any],
    tensors: dict[str, RawTensor],
) -> None:
    hub.add_repo("org/name", packed(tmp_path / "served", method, tensors))
    hint = refused(library, home, UnsupportedError, f"^org/name: .*{method['quant_method']}")
    assert "BF16" in str(hint)
    assert hub.sent[WEIGHTS] <= HEADER_BYTES


_MODULE = "model.layers.0.mlp.up_proj"
_REST: Mapping[str, RawTensor] = {
    f"{_MODULE}.qzeros": ("I32", (1, 8), bytes(32)),
    f"{_MODULE}.scales": ("F16", (1, 64), bytes(128)),
}
_QWEIGHT: Mapping[str, RawTensor] = {
    "gptq": ("I32", (8, 64), bytes(2048)),
    "awq": ("I32", (64, 8), bytes(2048)),
}


@pytest.mark.parametrize("method", ["awq", "gptq"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_awq_and_gptq_come_in_as_int4(
    library: Library, hub: HubServer, tmp_path: Path, method: str, elsewhere: bool
) -> None:
    tensors = {f"{_MODULE}.qweight": _QWEIGHT[method], **_REST}
    told = {"quant_method": method, "bits": 4, "group_size": 128}
    folder = packed(tmp_path / "served", None if elsewhere else told, tensors)
    if elsewhere:
        (folder / "quantize_config.json").write_text(json.dumps(told))
    hub.add_repo("org/name", folder)
    model = pull(library, PullRequest("org/name"), ignore, threading.Event()).model
    assert (model.name, model.format, model.quant) == (
        "org/name",
        ModelFormat.INT4,
        f"{method.upper()}-INT4",
    )
    assert model.parameters == 64 * 64 + (2 << 20)
    assert (model.path / "quantize_config.json").is_file() == elsewhere
    assert verify(library, (), ignore, threading.Event()).good


@pytest.mark.parametrize(
    ("told", "tensors", "says"),
    [
        ({"bits": 4, "group_size": 128}, {}, "qzeros does not go with its qweight"),
        ({"bits": 4}, _REST, "group_size None cannot be"),
        ({"bits": 5, "group_size": 128}, _REST, "bits are 2, 3, 4 or 8"),
        ({"bits": 8, "group_size": 128}, _REST, "does not go with its qweight"),
    ],
)
def test_damaged_int4_is_refused_by_its_header(
    library: Library,
    hub: HubServer,
    home: Paths,
    tmp_path: Path,
    told: dict[str, Any],
    tensors: Mapping[str, RawTensor],
    says: str,
) -> None:
    all_told = {"quant_method": "gptq", **told}
    qweight = {f"{_MODULE}.qweight": _QWEIGHT["gptq"]}
    hub.add_repo("org/name", packed(tmp_path / "served", all_told, {**qweight, **tensors}))
    refused(library, home, BadFileError, says)
    assert hub.sent[WEIGHTS] <= HEADER_BYTES


def test_pickled_weights_that_are_said_to_be_quantized(
    library: Library, hub: HubServer, home: Paths, tmp_path: Path
) -> None:
    folder = packed(tmp_path / "served", {"quant_method": "gptq"}, {})
    (folder / WEIGHTS).unlink()
    write_torch(folder / "pytorch_model.bin", {"a.weight": ("BF16", (2, 2), bytes(8))})
    hub.add_repo("org/name", folder)
    refused(library, home, UnsupportedError, "says that it is quantized .gptq.")
    assert hub.sent["pytorch_model.bin"] == 0


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "fp8", "nobody-knows-it"])
def test_what_is_left_in_a_config_over_plain_weights_is_not_minded(
    library: Library, hub: HubServer, tmp_path: Path, method: str
) -> None:
    config = CONFIG | {"quantization_config": {"quant_method": method}}
    folder = write_llama_checkpoint(tmp_path / "served", config=config, shards=2)
    repo = hub.add_repo("org/name", folder)
    model = pull(library, PullRequest("org/name"), ignore, threading.Event()).model
    assert model.quant == "BF16"
    assert all((model.path / name).read_bytes() == data for name, data in repo.files.items())


def test_masks_of_integers_are_no_packed_weights(tmp_path: Path) -> None:
    from localq.convert import open_checkpoint

    mask = ("U8", (1, 1, 8, 8), bytes(64))
    positions = ("I64", (1, 8), bytes(64))
    weight = ("BF16", (8, 8), bf16_bytes(np.ones((8, 8), np.float32)))
    tensors = {"h.0.attn.bias": mask, "position_ids": positions, "a.weight": weight}
    opened = open_checkpoint(packed(tmp_path / "x", {"quant_method": "gptq"}, tensors))
    assert opened.tensors.keys() >= tensors.keys()


def test_no_config_and_one_that_names_no_architecture(
    library: Library, hub: HubServer, home: Paths, tmp_path: Path
) -> None:
    folder = packed(tmp_path / "served", None, {})
    (folder / "config.json").write_text("{}")
    hub.add_repo("org/name", folder)
    refused(library, home, BadFileError, "^org/name/config.json: names no model architecture")
    (folder / "config.json").unlink()
    hub.add_repo("org/name", folder)
    refused(library, home, NotFoundError, "^org/name has no config.json")
    assert hub.sent[WEIGHTS] == 0
