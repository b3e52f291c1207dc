"""The ladder's sizes are those of the files: of their layouts for every family and type, and of
files that were really made."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from localq.convert import convert_checkpoint, open_checkpoint
from localq.convert.requantize import open_gguf
from localq.errors import UnsupportedError
from localq.events import ignore
from localq.formats.types import QuantType
from localq.library import Library
from localq.paths import Paths
from localq.quantize.ladder import climb
from localq.quantize.layout import lay_out, lay_out_quantization
from localq.quantize.options import QuantOptions
from localq.services.make.quantize import QuantizeRequest, quantize
from tests.checkpoints import LLAMA2_CONFIG, write_llama_checkpoint
from tests.families import FAMILIES, write_family
from tests.streams import DEMO

QUICK_FAMILIES = ("gemma2-tiny", "mixtral-tiny", "qwen3-fp8")
NEED_IMATRIX = {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "Q2_K_S", "IQ3_XS"}


def sizes(checkpoint: Path) -> dict[QuantType, int]:
    model = convert_checkpoint(open_checkpoint(checkpoint))
    rungs = climb(model.fields, model.tensors, QuantType, converted=True)
    assert [rung.type for rung in rungs] == [t for t in QuantType if t in {r.type for r in rungs}]
    return {rung.type: rung.size_bytes for rung in rungs if not rung.needs_imatrix}


def expected(checkpoint: Path) -> dict[QuantType, int]:
    model = convert_checkpoint(open_checkpoint(checkpoint))
    found = {}
    for type_ in QuantType:
        try:
            layout = lay_out(model.fields, model.tensors, QuantOptions(type_))
        except UnsupportedError:
            continue
        found[type_] = layout.size_bytes
    return found


@pytest.mark.parametrize("family", QUICK_FAMILIES)
def test_every_type_of_a_family(material: Path, tmp_path: Path, family: str) -> None:
    folder = write_family(tmp_path / "tiny", family, material)
    assert sizes(folder) == expected(folder)


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(path.stem for path in FAMILIES.glob("*.json")))
def test_every_type_of_every_family(material: Path, tmp_path: Path, family: str) -> None:
    folder = write_family(tmp_path / "tiny", family, material)
    assert sizes(folder) == expected(folder)


def test_files_that_were_made(home: Paths, tmp_path: Path) -> None:
    predicted = sizes(DEMO)
    assert len(predicted) > 20
    library = Library(home)
    for type_, size in predicted.items():
        request = QuantizeRequest(type_, str(DEMO), tmp_path / f"{type_.name}.gguf")
        made = quantize(library, request, ignore, threading.Event())
        assert made.path.stat().st_size == size, type_


def test_types_that_need_an_importance_matrix_are_marked(tmp_path: Path) -> None:
    config = {**LLAMA2_CONFIG, "hidden_size": 256, "intermediate_size": 512, "vocab_size": 320}
    folder = write_llama_checkpoint(tmp_path / "tiny", config=config, tokenizer_from=DEMO)
    model = convert_checkpoint(open_checkpoint(folder))
    rungs = climb(model.fields, model.tensors, QuantType, converted=True)
    assert {rung.type.name for rung in rungs} == {type_.name for type_ in QuantType}
    assert {rung.type.name for rung in rungs if rung.needs_imatrix} >= NEED_IMATRIX


def test_a_lossless_gguf_as_the_source(home: Paths, tmp_path: Path) -> None:
    target = tmp_path / "tiny.gguf"
    request = QuantizeRequest(QuantType.F16, str(DEMO), target)
    quantize(Library(home), request, ignore, threading.Event())
    model = open_gguf(target)
    types = (QuantType.Q4_0, QuantType.Q4_K_M, QuantType.BF16, QuantType.F32)
    rungs = climb(model.fields, model.tensors, types, converted=False)
    for type_, rung in zip(types, rungs, strict=True):
        layout = lay_out_quantization(model.fields, model.tensors, QuantOptions(type_))
        assert rung.size_bytes == layout.size_bytes
        assert [t.type for t in rung.tensors] == [t.type for t in layout.tensors]
