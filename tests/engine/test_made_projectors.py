"""Projectors that localq makes let the engine see: each kind beside the demo model."""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from localq.convert import convert_projector, open_checkpoint
from localq.engine.client import Engine, LoadSettings, SamplingParams
from localq.engine.protocol import Pictures
from localq.events import ignore
from localq.formats.types import QuantType
from localq.quantize.layout import lay_out
from localq.quantize.options import QuantOptions
from localq.quantize.writer import write_file
from tests.engine.test_engine import DEMO, make_gguf, unheard
from tests.families import write_family
from tests.projectors import png

PROJECTORS = Path(__file__).parents[1] / "data" / "projectors"
CASES = sorted(path.stem for path in PROJECTORS.glob("*.json"))
WITHOUT = {
    "qwen3-vl": "its views reach several layers of its own language model",
    "smolvlm": "its picture takes more tokens than the demo model reads",
}
QUICK = ("gemma3", "pixtral")
_TEXT_WIDTH, _DEMO_WIDTH = 48, 64


def _as_wide_as_the_demo(value: Any) -> Any:
    """The recorded case, its language model as wide as the demo; nothing else is of that width."""
    if isinstance(value, dict):
        return {key: _as_wide_as_the_demo(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_wide_as_the_demo(item) for item in value]
    return _DEMO_WIDTH if type(value) is int and value == _TEXT_WIDTH else value


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=() if case in QUICK else pytest.mark.slow)
        for case in CASES
        if case not in WITHOUT
    ],
)
def test_the_engine_sees_through_it(case: str, material: Path, tmp_path: Path) -> None:
    record = json.loads((PROJECTORS / f"{case}.json").read_text(encoding="utf-8"))
    del record["outputs"]
    (tmp_path / f"{case}.json").write_text(json.dumps(_as_wide_as_the_demo(record)))
    root = write_family(tmp_path / case, case, material, folder=tmp_path)
    made = convert_projector(open_checkpoint(root))
    path = tmp_path / "mmproj.gguf"
    layout = lay_out(made.fields, made.tensors, QuantOptions(QuantType.F16))
    write_file(path, layout, threads=1, emit=ignore, cancel=threading.Event())
    picture = base64.b64encode(png(seed=1)).decode()
    greedy = SamplingParams(max_tokens=4, temperature=0)
    with Engine() as engine:
        engine.load(LoadSettings(make_gguf(DEMO, tmp_path), n_threads=1, projector=path))
        blind = engine.generate("Once upon a time", greedy, on_text=unheard)
        seen = engine.generate(
            "<here>Once upon a time",
            greedy,
            pictures=Pictures((picture,), "<here>"),
            on_text=unheard,
        )
    assert seen.prompt_tokens > blind.prompt_tokens
    assert seen.text
