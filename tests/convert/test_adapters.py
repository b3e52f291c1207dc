"""LoRA adapters: the bytes of llama.cpp's own script, and what merging comes to."""

from __future__ import annotations

import json
import threading
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localq.convert import ConvertedModel, convert_checkpoint, open_checkpoint
from localq.convert.adapter import convert_adapter, merge_adapter, open_adapter
from localq.errors import BadFileError, LibraryError, NotFoundError, UnsupportedError, UsageError
from localq.events import ignore
from localq.formats.gguf import read_gguf
from localq.formats.types import QuantType
from localq.library import Library
from localq.quantize.layout import lay_out
from localq.quantize.options import QuantOptions
from localq.quantize.writer import write_file
from localq.services.library.locate import locate
from localq.services.make.adapter import AdapterRequest, adapter_at, convert_adapter_folder
from tests.adapters import write_adapter
from tests.checkpoints import RawTensor, read_safetensors, write_json, write_safetensors
from tests.families import write_family
from tests.reference.make_adapters import ADAPTERS, RECORD

CASE = "mistral-tiny"


@pytest.fixture
def base(tmp_path: Path, material: Path) -> Path:
    return write_family(tmp_path / CASE, CASE, material)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "tuned", CASE, ADAPTERS[CASE])


def written(model: ConvertedModel, quant: QuantType, path: Path) -> bytes:
    layout = lay_out(model.fields, model.tensors, QuantOptions(quant))
    write_file(path, layout, threads=2, emit=ignore, cancel=threading.Event())
    return path.read_bytes()


@pytest.mark.parametrize("case", ADAPTERS)
def test_the_bytes_are_llama_cpps(case: str, material: Path, tmp_path: Path) -> None:
    base = open_checkpoint(write_family(tmp_path / case, case, material))
    folder = write_adapter(tmp_path / f"{case}-adapter", case, ADAPTERS[case])
    model = convert_adapter(open_adapter(folder), base)
    for outtype, expected in json.loads(RECORD.read_text())[case].items():
        data = written(model, QuantType.parse(outtype), tmp_path / "out.gguf")
        assert sha256(data).hexdigest() == expected, outtype


def as_floats(tensor: RawTensor) -> Any:
    dtype, shape, data = tensor
    if dtype == "F32":
        return np.frombuffer(data, "<f4").reshape(shape)
    return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)


def test_merging_adds_scale_times_b_times_a(base: Path, adapter: Path, tmp_path: Path) -> None:
    """The same as merging the checkpoint and converting that."""
    parts = read_safetensors(adapter / "adapter_model.safetensors")
    tensors: dict[str, RawTensor] = {}
    changed = 0
    for name, tensor in read_safetensors(base / "model.safetensors").items():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        values = as_floats(tensor)
        if f"{stem}.lora_A.weight" in parts:
            a, b = (as_floats(parts[f"{stem}.lora_{part}.weight"]) for part in "AB")
            values = values + (2 * b) @ a  # lora_alpha 8, rank 4
            changed += 1
        tensors[name] = ("F32", tensor[1], values.astype("<f4").tobytes())
    assert changed > 5
    opened = open_checkpoint(base)
    merged = merge_adapter(convert_checkpoint(opened), open_adapter(adapter), opened)
    ours = written(merged, QuantType.F32, tmp_path / "merged.gguf")
    write_safetensors(base / "model.safetensors", tensors)
    theirs = written(convert_checkpoint(open_checkpoint(base)), QuantType.F32, tmp_path / "x.gguf")
    assert len(ours) == len(theirs)
    start = read_gguf(tmp_path / "x.gguf").tensors[0].offset
    mine, expected = (np.frombuffer(data[start:], "<f4") for data in (ours, theirs))
    assert np.allclose(mine, expected, rtol=1e-5, atol=1e-6)


def test_rank_stabilised_adapters_are_scaled_by_the_root(base: Path, tmp_path: Path) -> None:
    """llama.cpp divides alpha by the rank."""
    folder = write_adapter(tmp_path / "rs", CASE, ADAPTERS[CASE], use_rslora=True)
    model = convert_adapter(open_adapter(folder), open_checkpoint(base))
    assert model.fields["adapter.lora.alpha"].value == 8 * 2
    assert open_adapter(folder).scale == 8 / 2


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"peft_type": "IA3"}, "kind 'IA3'"),
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "biases"),
        ({"fan_in_fan_out": True}, "turned"),
        ({"rank_pattern": {"q_proj": 8}}, "ranks of their own"),
        ({"alpha_pattern": {"q_proj": 8}}, "weighs matrices differently"),
        ({"r": 0}, "r is"),
        ({"r": 5}, "do not fit rank 5"),
        ({"lora_alpha": "x"}, "lora_alpha is"),
    ],
)
def test_what_gguf_cannot_express_is_refused(
    tmp_path: Path, settings: dict[str, Any], problem: str
) -> None:
    folder = write_adapter(tmp_path / "odd", CASE, ADAPTERS[CASE], **settings)
    with pytest.raises((BadFileError, UnsupportedError), match=problem):
        open_adapter(folder)


def test_layers_saved_whole_beside_are_refused(adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    more: RawTensor = ("F32", (2, 2), bytes(16))
    name = "base_model.model.lm_head.modules_to_save.weight"
    write_safetensors(path, {**read_safetensors(path), name: more})
    with pytest.raises(UnsupportedError, match="holds more than an adapter's matrices"):
        open_adapter(adapter)


def test_another_base_is_refused(adapter: Path, tmp_path: Path, material: Path) -> None:
    other = write_family(tmp_path / "other", "phi3-tiny", material)
    with pytest.raises(BadFileError, match=r"which .* does not have") as caught:
        convert_adapter(open_adapter(adapter), open_checkpoint(other))
    assert "--base" in str(caught.value.hint)


def test_an_adapter_is_called_one(library: Library, adapter: Path) -> None:
    assert adapter_at(str(adapter)) == adapter
    with pytest.raises(UnsupportedError, match=f"is an adapter for org/{CASE}, not a model"):
        locate(library, str(adapter))
    with pytest.raises(NotFoundError, match=f"is an adapter for org/{CASE}, whose checkpoint"):
        convert_adapter_folder(library, AdapterRequest(adapter), ignore, threading.Event())


def test_from_a_folder_to_a_file_and_to_a_model(
    library: Library, base: Path, adapter: Path, tmp_path: Path
) -> None:
    def make(**options: Any) -> Any:
        request = AdapterRequest(adapter, str(base), **options)
        return convert_adapter_folder(library, request, ignore, threading.Event())

    made = make(output=tmp_path / "lora.gguf")
    assert made.name is None
    assert read_gguf(made.path).metadata["general.type"] == "adapter"
    with pytest.raises(LibraryError, match="is there already"):
        make(output=tmp_path / "lora.gguf")
    with pytest.raises(UsageError, match="does not become Q4_0"):
        make(type=QuantType.Q4_0)
    merged = make(merge=True, type=QuantType.Q8_0)
    assert merged.name == "local/tuned:Q8_0"
    assert library.find("local/tuned:Q8_0").path == merged.path
    with pytest.raises(LibraryError, match="is there already"):
        make(merge=True, type=QuantType.Q8_0)
    write_json(adapter / "adapter_config.json", {"peft_type": "LORA", "r": 4, "lora_alpha": 8})
    with pytest.raises(UsageError, match="does not name its base"):
        convert_adapter_folder(library, AdapterRequest(adapter), ignore, threading.Event())
