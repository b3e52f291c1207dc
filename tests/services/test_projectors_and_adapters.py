"""What belongs to models without being one: projectors beside them, adapters by name."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from localq.cli.main import main
from localq.errors import (
    LibraryError,
    LocalqError,
    NotFoundError,
    UnsupportedError,
    UsageError,
)
from localq.events import ignore
from localq.formats.adapter import Adapter
from localq.formats.gguf import Field, TensorLayout, ValueType, encode_header, read_gguf
from localq.formats.types import TensorType
from localq.library import Library, ModelFormat
from localq.services.hosting.prepared import prepare_model
from localq.services.library.adapters import locate_adapter
from localq.services.library.import_models import ImportRequest, ImportResult, import_models
from localq.services.library.locate import locate_gguf, locate_source
from localq.services.library.projector import find_projector
from tests.engine.test_engine import DEMO, make_gguf
from tests.projectors import png, write_projector


def take(library: Library, *paths: Path, **options: Any) -> ImportResult:
    return import_models(library, ImportRequest(paths, **options), ignore, threading.Event())


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gguf(DEMO, tmp_path_factory.mktemp("story"))


@pytest.fixture
def model(story: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    path = folder / "tiny-Q8_0.gguf"
    path.hardlink_to(story)
    return path


def adapter(path: Path, *, rank: int = 2) -> Path:
    fields = {
        "general.architecture": Field(ValueType.STRING, "llama"),
        "general.type": Field(ValueType.STRING, "adapter"),
        "general.file_type": Field(ValueType.UINT32, 0),
        "adapter.type": Field(ValueType.STRING, "lora"),
        "adapter.lora.alpha": Field(ValueType.FLOAT32, 4.0),
    }
    size = 64 * rank * 4
    tensors = [
        TensorLayout("blk.0.attn_q.weight.lora_a", TensorType.F32, (64, rank), 0),
        TensorLayout("blk.0.attn_q.weight.lora_b", TensorType.F32, (rank, 64), size),
    ]
    path.write_bytes(encode_header(fields.items(), tensors) + bytes(2 * size))
    return path


def test_a_projector_comes_with_its_model(library: Library, model: Path) -> None:
    projector = write_projector(model.parent / "mmproj-F32.gguf", 64)
    (taken,) = take(library, model).imported
    found = find_projector(read_gguf(taken.model.path))
    assert found is not None
    assert found.name == f"{taken.model.path.stem}-mmproj-F32.gguf"
    assert found.samefile(projector)
    assert found in library.files(taken.model)
    assert taken.model.size_bytes == model.stat().st_size + projector.stat().st_size
    prepared = prepare_model(library, taken.model.name)
    assert prepared.settings.projector == found
    assert prepared.footprint["host"] > projector.stat().st_size
    library.remove(taken.model.name)
    assert not found.exists()
    assert projector.exists()


@pytest.mark.parametrize("options", [{}, {"copy": True}, {"move": True}])
def test_a_projector_that_comes_later(
    library: Library, model: Path, tmp_path: Path, options: dict[str, bool]
) -> None:
    name = take(library, model).imported[0].model.name
    projector = write_projector(tmp_path / "x-mmproj.gguf", 64)
    data = projector.read_bytes()
    (taken,) = take(library, projector, **options).imported
    assert taken.model.name == name
    found = find_projector(read_gguf(taken.model.path))
    assert found is not None
    assert found.read_bytes() == data
    assert projector.exists() != ("move" in options)
    if not options:
        assert take(library, projector).imported[0].already_there


def test_whose_it_is_must_be_clear(library: Library, model: Path, tmp_path: Path) -> None:
    projector = write_projector(tmp_path / "x-mmproj.gguf", 64)
    with pytest.raises(UsageError, match="no model of the library"):
        take(library, projector)
    take(library, model, name="org/one")
    second = tmp_path / "apart" / "second-Q8_0.gguf"
    second.parent.mkdir()
    second.write_bytes(model.read_bytes())
    take(library, second, name="org/two")
    with pytest.raises(UsageError, match=r"could belong to org/one:Q8_0, org/two:Q8_0"):
        take(library, projector)
    (taken,) = take(library, projector, name="org/two:Q8_0").imported
    assert taken.model.name == "org/two:Q8_0"
    with pytest.raises(LocalqError, match="not for pictures"):
        take(library, write_projector(tmp_path / "deaf-mmproj.gguf", 64, vision=False))


def test_both_at_once_in_any_order(library: Library, model: Path, tmp_path: Path) -> None:
    projector = write_projector(tmp_path / "x-mmproj.gguf", 64)
    result = take(library, projector, model)
    assert not result.skipped
    assert find_projector(read_gguf(result.imported[0].model.path)) is not None


def test_of_strange_projectors_in_a_folder_none_is_taken(model: Path) -> None:
    file = read_gguf(model)
    write_projector(model.parent / "other-mmproj.gguf", 32)
    assert find_projector(file) is None
    (model.parent / "broken-mmproj.gguf").write_bytes(b"GGUF")
    first = write_projector(model.parent / "mmproj-a.gguf", 64)
    assert find_projector(file) == first
    write_projector(model.parent / "mmproj-b.gguf", 64)
    assert find_projector(file) is None
    own = write_projector(model.parent / "tiny-Q8_0-mmproj-F16.gguf", 64)
    assert find_projector(file) == own


def test_run_sees(
    library: Library, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(png())
    ask = ["run", str(model), "-p", "Once upon a time", "--image", str(picture)]
    ask += ["--max-tokens", "6", "--temperature", "0", "--threads", "1"]
    assert main(ask) == 1
    error = capsys.readouterr().err
    assert "cannot see pictures: no projector is beside it" in error
    write_projector(model.parent / "mmproj.gguf", 64)
    assert main(ask) == 0
    assert capsys.readouterr().out.strip()
    assert main(["plan", str(model)]) == 0
    assert "mmproj.gguf" in capsys.readouterr().out
    assert main(["plan", str(model), "--llama-cpp"]) == 0
    assert f"--mmproj {model.with_name('mmproj.gguf')}" in capsys.readouterr().out
    assert main([*ask, "--image", str(tmp_path / "none.png")]) == 1
    assert "no such file" in capsys.readouterr().err


def test_adapters_by_name(library: Library, model: Path, tmp_path: Path) -> None:
    take(library, model, name="org/base")
    path = adapter(tmp_path / "tuned-F32.gguf")
    (taken,) = take(library, path, name="org/tuned").imported
    assert (taken.model.format, taken.model.name) == (ModelFormat.ADAPTER, "org/tuned:F32")
    place = taken.model.path
    for text, scale in (
        ("org/tuned:F32", 1.0),
        ("tuned", 1.0),
        ("tuned:0.5", 0.5),
        ("org/tuned:F32:-2", -2.0),
    ):
        assert locate_adapter(text) == Adapter(place, scale)
    assert locate_adapter(f"{path}:0.25") == Adapter(path, 0.25)
    odd = adapter(tmp_path / "odd:1")
    assert locate_adapter(str(odd)) == Adapter(odd)
    with pytest.raises(NotFoundError, match=r"tuned:abc: no such adapter"):
        locate_adapter("tuned:abc")
    with pytest.raises(NotFoundError, match=r"tuned-F32\.gguf:abc: no such adapter"):
        locate_adapter(f"{path}:abc")
    with pytest.raises(LibraryError, match="is a model, not an adapter"):
        locate_adapter("org/base:Q8_0")
    with pytest.raises(UsageError, match="scale"):
        locate_adapter("tuned:1e9")


def test_an_adapter_is_never_run_by_itself(
    library: Library, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = take(library, model, name="org/base").imported[0].model
    tuned = take(library, adapter(tmp_path / "a.gguf"), name="org/tuned").imported[0].model
    assert locate_gguf(library, None).name == base.name
    with pytest.raises(NotFoundError, match="org/tuned:F32 is an adapter, no model by itself"):
        locate_gguf(library, "org/tuned")
    with pytest.raises(UnsupportedError, match="cannot be quantized"):
        locate_source(library, "org/tuned")
    with pytest.raises(NotFoundError, match="no model by itself"):
        locate_gguf(library, str(tuned.path))
    ask = ["run", "org/base", "-p", "Once", "--max-tokens", "4", "--threads", "1"]
    assert main([*ask, "--lora", "tuned:0.5"]) == 0
    capsys.readouterr()
    assert main([*ask, "--lora", "tuned:abc"]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) <= 2
    assert main(["list"]) == 0
    assert "llama (LoRA)" in capsys.readouterr().out
    library.remove("org/tuned:F32")


def test_what_is_no_adapter_is_not_taken(library: Library, tmp_path: Path) -> None:
    path = adapter(tmp_path / "a.gguf")
    path.write_bytes(path.read_bytes().replace(b"lora_b", b"lora_c"))
    with pytest.raises(LocalqError, match="other half"):
        take(library, path)
