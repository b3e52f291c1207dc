"""localq's files against llama.cpp's own, byte for byte.

The reference values were made by `tests/reference/make_reference.py`: llama.cpp's
`convert_hf_to_gguf.py` and `llama-quantize`, built from the source inside llama-cpp-python
0.3.36, ran on the same checkpoints; hashes of what they wrote are in `tests/data/reference`.
"""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from localq.convert import ConvertedModel, convert_checkpoint, open_checkpoint
from localq.errors import UnsupportedError
from localq.events import ignore
from localq.formats.types import QuantType
from localq.quantize.imatrix import Imatrix, read_imatrix
from localq.quantize.layout import lay_out
from localq.quantize.options import QuantOptions
from localq.quantize.writer import write_file
from tests.reference.make_reference import CASES, Case
from tests.reference.make_weighed import MATRIX, RECORD, TYPES, make_checkpoint, make_matrix
from tests.reference.summary import summarize

_REFERENCE = Path(__file__).parents[1] / "data" / "reference"

_FIRST = "a space before the first word alone: llama.cpp would put one after special tokens too"
_SPACE_FIRST = {
    "tokenizer.ggml.add_space_prefix": _FIRST,
    "tokenizer.ggml.prepend_scheme": _FIRST,
}

_NAMED = {"tokenizer.chat_template": "llama.cpp writes the name of a template that it alone knows"}

KNOWN_DIFFERENCES: dict[str, dict[str, str]] = {
    **dict.fromkeys(("mistral-tekken", "mistral-own", "ministral3-own"), _NAMED),
    "glm-tiny": {
        "chatglm.context_length": "llama.cpp takes the width for it where seq_length is absent",
        "chatglm.attention.layer_norm_rms_epsilon": "llama.cpp takes 1e-5 for the config's own",
    },
}
"""Case -> metadata key -> why localq writes another value than llama.cpp."""


QUICK_IN_EVERY_TYPE = ("stories260K", "smollm2-tiny")
WEIGHED_QUICKLY = (QuantType.Q2_K_S, QuantType.Q4_0, QuantType.Q4_K_M)
USUAL_TYPES = ("f16", "Q4_0", "Q4_K_M")


def reference(case: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((_REFERENCE / f"{case}.json").read_text())
    return document


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture(scope="module")
def converted(
    case: Case, material: Path, tmp_path_factory: pytest.TempPathFactory
) -> ConvertedModel:
    root = tmp_path_factory.mktemp("checkpoint") / case.name
    case.make(root, material)
    return convert_checkpoint(open_checkpoint(root))


def write(model: ConvertedModel, quant: QuantType, folder: Path) -> Path:
    path = folder / f"{quant.name}.gguf"
    layout = lay_out(model.fields, model.tensors, QuantOptions(quant))
    write_file(path, layout, threads=2, emit=ignore, cancel=threading.Event())
    assert path.stat().st_size == layout.size_bytes
    return path


def test_every_file_is_llama_cpps(case: Case, converted: ConvertedModel, tmp_path: Path) -> None:
    compare(case, converted, tmp_path, every=case.name in QUICK_IN_EVERY_TYPE)


@pytest.mark.slow
def test_every_type_is_llama_cpps(case: Case, converted: ConvertedModel, tmp_path: Path) -> None:
    compare(case, converted, tmp_path, every=True)


def compare(case: Case, converted: ConvertedModel, tmp_path: Path, *, every: bool) -> None:
    known = KNOWN_DIFFERENCES.get(case.name, {})
    different = []
    for name, expected in reference(case.name)["outputs"].items():
        if not every and name not in USUAL_TYPES:
            continue
        path = write(converted, QuantType.parse(name), tmp_path)
        mine = summarize(path)
        path.unlink()
        if mine.sha256 == expected["sha256"]:
            continue
        if "metadata" in expected:
            theirs = {key: rest for key, *rest in expected["metadata"]}
            ours = {key: rest for key, *rest in mine.metadata}
            keys = {key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key)}
            assert keys == known.keys(), [(key, theirs.get(key), ours.get(key)) for key in keys]
            assert mine.tensors == expected["tensors"], name
        elif not known or expected.get("tensors_sha256", mine.tensors_sha256) != (
            mine.tensors_sha256  # where metadata differs on purpose, tensors must not
        ):
            different.append(name)
    assert not different


def test_what_llama_cpp_refuses_localq_refuses(case: Case, converted: ConvertedModel) -> None:
    for name, reason in reference(case.name)["refused"].items():
        if "requantizing" in reason:  # what comes quantized stays so, the rest is quantized
            layout = lay_out(
                converted.fields, converted.tensors, QuantOptions(QuantType.parse(name))
            )
            kept = {
                tensor.type.name for tensor in layout.tensors if "_exps.w" in tensor.source.name
            }
            assert kept == {"MXFP4"}
            continue
        with pytest.raises(UnsupportedError, match=r"importance matrix|no other type stands in"):
            lay_out(converted.fields, converted.tensors, QuantOptions(QuantType.parse(name)))


@pytest.fixture(scope="module")
def weighed(
    material: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ConvertedModel, Imatrix]:
    """A checkpoint and an importance matrix, made as for the record."""
    work = tmp_path_factory.mktemp("weighed")
    model = make_checkpoint(work / "weighed", material)
    make_matrix(work / MATRIX, model)
    return model, replace(read_imatrix(work / MATRIX), path=Path(MATRIX))


@pytest.mark.parametrize(
    "quant",
    [
        pytest.param(q, id=q.name, marks=() if q in WEIGHED_QUICKLY else pytest.mark.slow)
        for q in TYPES
    ],
)
def test_weighed_files_are_llama_cpps(
    weighed: tuple[ConvertedModel, Imatrix], quant: QuantType, tmp_path: Path
) -> None:
    model, imatrix = weighed
    layout = lay_out(model.fields, model.tensors, QuantOptions(quant), imatrix)
    path = tmp_path / "weighed.gguf"
    write_file(path, layout, threads=2, emit=ignore, cancel=threading.Event())
    expected = json.loads(RECORD.read_text())[quant.name]
    assert sha256(path.read_bytes()).hexdigest() == expected
