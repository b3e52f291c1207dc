"""Adapters that are added while the model computes: the logits of the merged model."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localq.cli.main import main
from localq.convert import ConvertedModel, convert_checkpoint, open_checkpoint
from localq.convert.adapter import convert_adapter, merge_adapter, open_adapter
from localq.engine.client import Engine, LoadSettings, SamplingParams
from localq.errors import BadFileError, EngineError, UnsupportedError, UsageError
from localq.events import ignore
from localq.formats.adapter import Adapter, read_adapter
from localq.formats.gguf import Field, TensorLayout, ValueType, encode_header
from localq.formats.types import QuantType, TensorType
from localq.library import Library
from localq.paths import Paths
from localq.planning.offload_plan import PlanOptions
from localq.quantize.layout import lay_out
from localq.quantize.options import QuantOptions
from localq.quantize.writer import write_file
from localq.services.machine.plan import plan_model, save_plan_options, unplanned_settings
from tests.adapters import write_adapter
from tests.engine.test_engine import unheard
from tests.families import write_family
from tests.reference.make_adapters import ADAPTERS

CASE = "mistral-tiny"
IDS = [1, *range(3, 50)]
BOUND = 2e-5
"""Of the largest logit: the products are added up in another order."""


def written(model: ConvertedModel, path: Path) -> Path:
    layout = lay_out(model.fields, model.tensors, QuantOptions(QuantType.F32))
    write_file(path, layout, threads=1, emit=ignore, cancel=threading.Event())
    return path


class Models:
    """A base, two adapters, and what merging each of them gives."""

    def __init__(self, folder: Path, material: Path) -> None:
        self.folder = folder
        self.root = write_family(folder / CASE, CASE, material)
        base = open_checkpoint(self.root)
        self.base = written(convert_checkpoint(base), folder / "base.gguf")
        self.folders, self.adapters, self.merged = [], [], []
        for number, alpha in enumerate((8, 3)):
            tuned = write_adapter(folder / f"tuned{number}", CASE, ADAPTERS[CASE], lora_alpha=alpha)
            opened = open_adapter(tuned)
            self.folders.append(tuned)
            self.adapters.append(
                written(convert_adapter(opened, base), folder / f"adapter{number}.gguf")
            )
            merged = merge_adapter(convert_checkpoint(base), opened, base)
            self.merged.append(written(merged, folder / f"merged{number}.gguf"))

    def logits(self, gguf: Path, *adapters: Adapter) -> Any:
        output = self.folder / "logits.f32"
        settings = LoadSettings(
            gguf, n_ctx=64, n_threads=1, type_k="f32", type_v="f32", adapters=adapters
        )
        with Engine(log=self.folder / "engine.log") as engine:
            loaded = engine.load(settings)
            engine.logits(IDS, output)
        return np.fromfile(output, "<f4").reshape(len(IDS), loaded.n_vocab)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Models:
    return Models(tmp_path_factory.mktemp("adapters"), request.getfixturevalue("material"))


def difference(one: Any, other: Any) -> float:
    return float(np.abs(one - other).max() / np.abs(other).max())


def test_an_adapter_makes_the_merged_model(models: Models) -> None:
    base = models.logits(models.base)
    for adapter, merged in zip(models.adapters, models.merged, strict=True):
        wanted = models.logits(merged)
        assert difference(base, wanted) > 0.05
        assert difference(models.logits(models.base, Adapter(adapter)), wanted) < BOUND
    assert difference(models.logits(models.base, Adapter(models.adapters[0], 0.0)), base) == 0


def test_several_adapters_and_scales_add_up(models: Models) -> None:
    """The two differ in nothing but alpha: 8 and 3 of the same change."""
    first, second = models.adapters
    twice = models.logits(models.base, Adapter(second), Adapter(second))
    assert difference(models.logits(models.base, Adapter(first, 0.75)), twice) < BOUND
    both = models.logits(models.base, Adapter(first), Adapter(second, -8 / 3))
    assert difference(both, models.logits(models.base)) < BOUND


@pytest.mark.filterwarnings("ignore")
def test_logits_are_those_of_transformers_with_the_adapter(models: Models) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: torch)")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from safetensors.numpy import load_file

    model = transformers.AutoModelForCausalLM.from_pretrained(models.root, dtype=torch.float32)
    config = json.loads((models.folders[0] / "adapter_config.json").read_text())
    parts = load_file(models.folders[0] / "adapter_model.safetensors")
    changed = 0
    for name, weight in model.named_parameters():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{stem}.lora_A.weight" in parts:  # what PEFT adds
            a, b = (parts[f"{stem}.lora_{part}.weight"].astype("f4") for part in "AB")
            weight.data += torch.from_numpy(config["lora_alpha"] / config["r"] * (b @ a))
            changed += 1
    assert changed > 5
    with torch.inference_mode():
        expected = model.eval()(torch.tensor([IDS])).logits[0].numpy()
    found = models.logits(models.base, Adapter(models.adapters[0]))
    assert difference(found, expected) < BOUND


def test_states_are_of_the_model_with_its_adapters(models: Models, tmp_path: Path) -> None:
    prompt, few = [1, *range(3, 200)], SamplingParams(max_tokens=2, temperature=0)
    settings = LoadSettings(models.base, n_ctx=256, n_threads=1, state_folder=tmp_path / "states")
    for adapters, reused in (((), 0), ((), 197), ((Adapter(models.adapters[0]),), 0)):
        with Engine(log=tmp_path / "log") as engine:
            engine.load(replace(settings, adapters=adapters))
            done = engine.generate(prompt, few, on_text=unheard)
        assert done.reused_tokens == reused


def adapter_file(
    path: Path, fields: Mapping[str, Field], shapes: Mapping[str, tuple[int, ...]]
) -> Path:
    tensors, offset = [], 0
    for name, shape in shapes.items():
        nbytes = 4 * int(np.prod(shape))
        tensors.append(TensorLayout(name, TensorType.F32, shape, offset))
        offset += -(-nbytes // 32) * 32
    path.write_bytes(encode_header(fields.items(), tensors) + bytes(offset))
    return path


def text(value: str) -> Field:
    return Field(ValueType.STRING, value)


GOOD = {
    "general.architecture": text("llama"),
    "general.type": text("adapter"),
    "adapter.type": text("lora"),
    "adapter.lora.alpha": Field(ValueType.FLOAT32, 8.0),
}
PAIR = {"blk.0.attn_q.weight.lora_a": (64, 4), "blk.0.attn_q.weight.lora_b": (4, 64)}


@pytest.mark.parametrize(
    ("fields", "shapes", "problem"),
    [
        ({"general.type": text("model")}, PAIR, "is no LoRA adapter"),
        ({"general.type": Field(ValueType.UINT32, 7)}, PAIR, "is no LoRA adapter"),
        ({"adapter.type": text("control")}, PAIR, "is no LoRA adapter"),
        ({"general.architecture": text("qwen3")}, PAIR, "is an adapter for qwen3"),
        ({"adapter.lora.alpha": Field(ValueType.UINT32, 8)}, PAIR, "is no float32"),
        (
            {"adapter.alora.invocation_tokens": Field(ValueType.ARRAY, [1], ValueType.UINT32)},
            PAIR,
            "from certain words on",
        ),
        ({}, {"blk.0.attn_q.weight.lora_a": (64, 4)}, "without its other half"),
        (
            {},
            {**PAIR, "blk.0.attn_q.weight.lora_b": (5, 64)},
            "do not fit together",
        ),
    ],
)
def test_files_that_are_no_adapter_for_the_model(
    fields: Mapping[str, Field], shapes: Mapping[str, tuple[int, ...]], problem: str, tmp_path: Path
) -> None:
    path = adapter_file(tmp_path / "a.gguf", GOOD, PAIR)
    read_adapter(path, "llama")
    adapter_file(path, {**GOOD, **fields}, shapes)
    with pytest.raises((BadFileError, UnsupportedError), match=problem):
        read_adapter(path, "llama")


def test_an_adapter_that_llama_cpp_refuses(models: Models, tmp_path: Path) -> None:
    shapes = {"blk.77.attn_q.weight.lora_a": (64, 4), "blk.77.attn_q.weight.lora_b": (4, 64)}
    path = adapter_file(tmp_path / "a.gguf", GOOD, shapes)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(models.adapters[0].read_bytes()[:-100])
    with Engine(log=tmp_path / "log") as engine:
        for bad, problem in ((path, "does not exist in base model"), (cut, "cut.gguf")):
            with pytest.raises(EngineError, match=problem):
                engine.load(LoadSettings(models.base, n_ctx=32, adapters=(Adapter(bad),)))
        engine.load(LoadSettings(models.base, n_ctx=32))  # the process is still there


def test_scales_and_numbers_have_bounds() -> None:
    for scale in (float("nan"), float("inf"), 1e9):
        with pytest.raises(UsageError, match="the scale of an adapter"):
            Adapter(Path("a"), scale)
    with pytest.raises(UsageError, match="17 adapters; at most 16"):
        LoadSettings(Path("m"), adapters=(Adapter(Path("a")),) * 17)


def test_a_plan_has_adapters_and_room_for_them(home: Paths, models: Models) -> None:
    options = PlanOptions(adapters=(Adapter(models.adapters[0], 0.5),))
    assert unplanned_settings(models.base, options).adapters == options.adapters
    with Library() as library:
        plain = plan_model(library, str(models.base))
        save_plan_options(library, plain.model, options)
        planned = plan_model(library, str(models.base), PlanOptions(n_ctx=100))
    assert planned.plan.adapters == options.adapters
    more = planned.plan.budgets[0].margin - plain.plan.budgets[0].margin
    assert more == models.adapters[0].stat().st_size


def test_the_command_line_adds_adapters(
    home: Paths, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*options: str) -> str:
        arguments = ["run", str(models.base), "-p", "a", "--max-tokens", "4", "--seed", "1"]
        assert main([*arguments, "--temperature", "0", "--template", "none", *options]) == 0
        return capsys.readouterr().out

    adapter = str(models.adapters[0])
    assert said() != said("--lora", adapter)
    assert said() == said("--lora", f"{adapter}:0")
    assert main(["plan", str(models.base), "--lora", f"{adapter}:0.5", "--llama-cpp"]) == 0
    assert f"--lora-scaled {adapter}:0.5" in capsys.readouterr().out
    assert main(["plan", str(models.base), "--lora", f"{adapter}:0.5"]) == 0
    assert "adapter0.gguf at 0.5" in capsys.readouterr().out
    assert main(["run", str(models.base), "-p", "a", "--lora", str(models.base)]) == 1
    assert "is no LoRA adapter" in capsys.readouterr().err
