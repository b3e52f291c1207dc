"""Models in several files: cut as llama-gguf-split cuts them, and read as one."""

from __future__ import annotations

import threading
from hashlib import sha256
from pathlib import Path

import pytest

import localq
from localq.errors import BadFileError, NotFoundError
from localq.events import ignore
from localq.formats.gguf_split import read_shards
from localq.formats.types import QuantType
from localq.library import Library
from localq.paths import Paths
from localq.services.make.quantize import QuantizeRequest, quantize
from tests.services.test_quantize import DEMO

# llama-gguf-split --split-max-size 1M on the F32 file (llama.cpp as in llama-cpp-python 0.3.36)
SHARDS = (
    "f8937dc5d8e42cd77502e7e371e33463f3dfd940ac03de75f10f8fe6ce44ef1c",
    "9b92ea3c7ef5ca22cd1c0d2db2097b7f949fe4d0f4160acf222eef30ec15c379",
)


def make(
    output: Path | None,
    model: Path = DEMO,
    quant: QuantType = QuantType.F32,
    size: int | None = None,
) -> Path:
    request = QuantizeRequest(quant, str(model), output, split_bytes=size)
    with Library() as library:
        return quantize(library, request, ignore, threading.Event()).path


def test_cut_where_llama_cpp_cuts(home: Paths, tmp_path: Path) -> None:
    first = make(tmp_path / "f.gguf", size=1_000_000)
    assert first.name == "f-00001-of-00002.gguf"
    files = sorted(tmp_path.glob("*.gguf"))
    assert tuple(sha256(path.read_bytes()).hexdigest() for path in files) == SHARDS


def test_a_model_that_fits_stays_whole(home: Paths, tmp_path: Path) -> None:
    assert make(tmp_path / "f.gguf", size=10_000_000) == tmp_path / "f.gguf"


def test_read_as_one(home: Paths, tmp_path: Path) -> None:
    first = make(tmp_path / "f.gguf", size=300_000)
    assert len(read_shards(first)) == 4
    again = make(tmp_path / "again.gguf", first, QuantType.Q8_0)
    straight = make(tmp_path / "straight.gguf", DEMO, QuantType.Q8_0)
    assert again.read_bytes() == straight.read_bytes()


def test_in_the_library_it_is_one_model(home: Paths) -> None:
    first = make(None, size=300_000)
    (model,) = localq.Library().models()
    assert model.path == first
    assert model.size_bytes == sum(path.stat().st_size for path in first.parent.iterdir())
    localq.Library().remove(model.name)
    assert not first.parent.exists()


def test_a_missing_or_foreign_part(home: Paths, tmp_path: Path) -> None:
    first = make(tmp_path / "f.gguf", size=300_000)
    second = tmp_path / "f-00002-of-00004.gguf"
    whole = second.read_bytes()
    second.unlink()
    with pytest.raises(NotFoundError, match="one of the model's 4"):
        read_shards(first)
    second.write_bytes((tmp_path / "f-00003-of-00004.gguf").read_bytes())
    with pytest.raises(BadFileError, match="does not belong"):
        read_shards(first)
    second.write_bytes(whole)
    renamed = first.rename(tmp_path / "renamed.gguf")
    with pytest.raises(BadFileError, match="not named so"):
        read_shards(renamed)
