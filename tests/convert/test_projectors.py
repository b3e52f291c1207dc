"""Projectors against llama.cpp's own converter, byte for byte, and what is wrong with one.

The reference values were made by `tests/reference/make_projectors.py`.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from localq.convert import convert_projector, open_checkpoint
from localq.convert.requantize import open_gguf
from localq.errors import BadFileError, LocalqError, UnsupportedError
from localq.events import ignore
from localq.formats.gguf import encode_header
from localq.formats.types import QuantType
from localq.quantize.layout import lay_out, lay_out_quantization
from localq.quantize.options import QuantOptions
from localq.quantize.writer import write_file
from tests.convert.test_family_configs import LIES
from tests.families import write_family
from tests.reference.summary import summarize

PROJECTORS = Path(__file__).parents[1] / "data" / "projectors"
CASES = sorted(path.stem for path in PROJECTORS.glob("*.json"))
QUICK_LIES = ("internvl", "qwen3-vl")


@dataclass(frozen=True)
class Made:
    root: Path
    outputs: dict[str, Any]
    quantized: dict[str, str]


@pytest.fixture(params=CASES)
def made(request: pytest.FixtureRequest, material: Path, tmp_path: Path) -> Made:
    case: str = request.param
    record = json.loads((PROJECTORS / f"{case}.json").read_text(encoding="utf-8"))
    root = write_family(tmp_path / case, case, material, folder=PROJECTORS)
    return Made(root, record["outputs"], record["quantized"])


def test_every_file_is_llama_cpps(made: Made, tmp_path: Path) -> None:
    model = convert_projector(open_checkpoint(made.root))
    different: list[object] = []
    for name, expected in made.outputs.items():
        path = tmp_path / f"{name}.gguf"
        layout = lay_out(model.fields, model.tensors, QuantOptions(QuantType.parse(name)))
        write_file(path, layout, threads=1, emit=ignore, cancel=threading.Event())
        mine = summarize(path)
        if mine.sha256 == expected["sha256"]:
            continue
        different.append(name)
        if "metadata" in expected:
            different += [one for one in mine.metadata if one not in expected["metadata"]]
            different += [one for one in expected["metadata"] if one not in mine.metadata]
            different += [one for one in mine.tensors if one not in expected["tensors"]]
            different += [one for one in expected["tensors"] if one not in mine.tensors]
            if len(different) == 1:
                different.append("the order")
    assert not different


def test_quantized_it_is_llama_quantizes(made: Made, tmp_path: Path) -> None:
    model = convert_projector(open_checkpoint(made.root))
    f16 = tmp_path / "f16.gguf"
    layout = lay_out(model.fields, model.tensors, QuantOptions(QuantType.F16))
    write_file(f16, layout, threads=1, emit=ignore, cancel=threading.Event())
    again = open_gguf(f16)
    for name, expected in made.quantized.items():
        path = tmp_path / f"{name}.gguf"
        options = QuantOptions(QuantType.parse(name))
        layout = lay_out_quantization(again.fields, again.tensors, options)
        write_file(path, layout, threads=1, emit=ignore, cancel=threading.Event())
        assert sha256(path.read_bytes()).hexdigest() == expected, name


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=() if c in QUICK_LIES else pytest.mark.slow) for c in CASES],
)
def test_a_lying_config_is_converted_or_refused(case: str, material: Path, tmp_path: Path) -> None:
    root = write_family(tmp_path / case, case, material, folder=PROJECTORS)
    checkpoint = open_checkpoint(root)
    whole = dict(checkpoint.config)
    vision = dict(whole["vision_config"])
    refused = 0
    for i, key in enumerate([*sorted(vision), *sorted(whole)]):
        for lie in LIES[i % 3 :: 3]:
            inner = vision | {key: lie} if i < len(vision) else vision
            config = {**whole, "vision_config": inner}
            if i >= len(vision):
                config[key] = lie
            try:
                model = convert_projector(replace(checkpoint, config=config))
                encode_header(model.fields.items(), ())
            except LocalqError:
                refused += 1
    assert refused


def _edit(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | changes), encoding="utf-8")


@pytest.fixture
def gemma3(material: Path, tmp_path: Path) -> Path:
    return write_family(tmp_path / "gemma3", "gemma3", material, folder=PROJECTORS)


def test_without_the_colours_scale_it_is_refused(gemma3: Path) -> None:
    (gemma3 / "preprocessor_config.json").unlink()
    with pytest.raises(BadFileError, match=r"processor_config\.json.*image_mean"):
        convert_projector(open_checkpoint(gemma3))


@pytest.mark.parametrize("mean", [[], [0.5, "0.5", 0.5], [True] * 3, [1e300] * 3, 0.5, [0.5] * 99])
def test_a_scale_that_is_none_is_refused(gemma3: Path, mean: object) -> None:
    _edit(gemma3 / "preprocessor_config.json", image_mean=mean)
    with pytest.raises(BadFileError, match="image_mean"):
        convert_projector(open_checkpoint(gemma3))


def test_shapes_are_checked_against_the_config(gemma3: Path) -> None:
    config = json.loads((gemma3 / "config.json").read_text(encoding="utf-8"))
    _edit(gemma3 / "config.json", vision_config=config["vision_config"] | {"intermediate_size": 96})
    with pytest.raises(BadFileError, match=r"ffn_up.*\[80, 32\].*\[96, 32\]"):
        convert_projector(open_checkpoint(gemma3))


def test_a_layer_that_is_missing_is_named(gemma3: Path) -> None:
    config = json.loads((gemma3 / "config.json").read_text(encoding="utf-8"))
    _edit(gemma3 / "config.json", vision_config=config["vision_config"] | {"num_hidden_layers": 3})
    with pytest.raises(BadFileError, match=r"v\.blk\.2\."):
        convert_projector(open_checkpoint(gemma3))


def test_a_model_that_sees_nothing_has_no_projector(gemma3: Path) -> None:
    config = json.loads((gemma3 / "config.json").read_text(encoding="utf-8"))
    del config["vision_config"]
    (gemma3 / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(UnsupportedError, match="sees no pictures"):
        convert_projector(open_checkpoint(gemma3))


def test_a_kind_that_nobody_converts_is_named(material: Path, tmp_path: Path) -> None:
    root = write_family(tmp_path / "llava", "pixtral", material, folder=PROJECTORS)
    config = json.loads((root / "config.json").read_text(encoding="utf-8"))
    vision = config["vision_config"] | {"model_type": "clip_vision_model"}
    _edit(root / "config.json", vision_config=vision)
    with pytest.raises(UnsupportedError, match=r"neither localq nor llama\.cpp.*clip_vision"):
        convert_projector(open_checkpoint(root))
