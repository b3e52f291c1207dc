"""A model that sees comes with its projector; or the projector is made alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from localq.errors import BadFileError, LibraryError, NotFoundError, UsageError
from localq.events import JobEvent, Note, ignore
from localq.formats.gguf import read_gguf
from localq.formats.types import QuantType
from localq.library import Library
from localq.paths import Paths
from localq.services.library.verify import Verdict, verify
from localq.services.make.preflight import preflight
from localq.services.make.projector import ProjectorRequest, convert_projector_alone
from localq.services.make.quantize import QuantizeRequest, quantize
from tests.families import write_family

PICTURES = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "image_seq_length": 4}


@pytest.fixture
def seer(material: Path, tmp_path: Path) -> Path:
    root = write_family(tmp_path / "seer", "gemma3-multimodal", material)
    (root / "preprocessor_config.json").write_text(json.dumps(PICTURES), encoding="utf-8")
    return root


@pytest.fixture
def library(home: Paths) -> Iterator[Library]:
    with Library() as opened:
        yield opened


def request(seer: Path, **more: object) -> QuantizeRequest:
    return QuantizeRequest(QuantType.Q4_0, str(seer), **more)  # type: ignore[arg-type]


def verdicts(library: Library, *names: str) -> set[Verdict]:
    found = verify(library, names, ignore, threading.Event())
    return {file.verdict for model in found.models for file in model.files}


def alone(library: Library, asked: ProjectorRequest) -> Path:
    return convert_projector_alone(library, asked, ignore, threading.Event()).path


def test_both_are_made_and_entered(library: Library, seer: Path) -> None:
    made = quantize(library, request(seer), ignore, threading.Event())
    assert made.name is not None
    assert made.projector is not None
    assert made.projector.name == "seer-Q4_0-mmproj-F16.gguf"
    file = read_gguf(made.projector)
    assert file.architecture == "clip"
    assert file.metadata["clip.projector_type"] == "gemma3"
    entry = library.find(made.name)
    assert entry.architecture == "gemma3"
    assert set(library.files(entry)) == {made.path, made.projector}
    assert made.size_bytes == entry.size_bytes == sum(library.sizes(entry).values())
    assert verdicts(library, made.name) == {Verdict.OK}
    library.remove(made.name)
    assert not made.projector.exists()


def test_all_types_of_a_model_share_one(library: Library, seer: Path) -> None:
    made = [
        quantize(library, QuantizeRequest(type_, str(seer)), ignore, threading.Event())
        for type_ in (QuantType.Q4_0, QuantType.Q8_0)
    ]
    first, second = (one.projector for one in made)
    assert first is not None
    assert second is not None
    assert first.samefile(second)
    names = [str(one.name) for one in made]
    assert verdicts(library, *names) == {Verdict.OK}
    library.remove(names[0])
    assert verdicts(library, names[1]) == {Verdict.OK}


def test_a_dry_run_counts_it(library: Library, seer: Path) -> None:
    without = preflight(library, request(seer, projector=False)).size_bytes
    made = quantize(library, request(seer), ignore, threading.Event())
    assert made.projector is not None
    assert made.size_bytes == without + made.projector.stat().st_size


def test_outside_the_library_it_lies_beside_the_model(
    library: Library, seer: Path, tmp_path: Path
) -> None:
    made = quantize(library, request(seer, output=tmp_path / "m.gguf"), ignore, threading.Event())
    assert made.projector == tmp_path / "m-mmproj-F16.gguf"
    made.path.unlink()
    with pytest.raises(LibraryError, match=r"m-mmproj-F16\.gguf: is there already"):
        quantize(library, request(seer, output=tmp_path / "m.gguf"), ignore, threading.Event())
    assert not made.path.exists()


def test_what_cannot_be_made_is_said_and_the_model_is_made(library: Library, seer: Path) -> None:
    (seer / "preprocessor_config.json").unlink()
    events: list[JobEvent] = []
    made = quantize(library, request(seer), events.append, threading.Event())
    assert made.projector is None
    assert made.path.is_file()
    notes = [event.text for event in events if isinstance(event, Note)]
    assert any("will not see pictures" in note for note in notes), notes
    with pytest.raises(BadFileError, match=r"preprocessor_config\.json: is missing"):
        alone(library, ProjectorRequest(str(seer)))


def test_alone_it_goes_with_every_model_that_has_none(library: Library, seer: Path) -> None:
    with pytest.raises(NotFoundError, match="no GGUF"):
        alone(library, ProjectorRequest(str(seer)))
    names = []
    for type_ in (QuantType.Q4_0, QuantType.Q8_0):
        asked = QuantizeRequest(type_, str(seer), projector=False)
        made = quantize(library, asked, ignore, threading.Event())
        assert made.name is not None
        names.append(made.name)
    path = alone(library, ProjectorRequest(str(seer)))
    for name in names:
        entry = library.find(name)
        files = library.files(entry)
        assert len(files) == 2
        (own,) = (file for file in files if "-mmproj-" in file.name)
        assert own.read_bytes() == path.read_bytes()
        assert entry.size_bytes == sum(file.stat().st_size for file in files)
    assert verdicts(library, *names) == {Verdict.OK}
    with pytest.raises(LibraryError, match="has its projector already"):
        alone(library, ProjectorRequest(str(seer)))
    alone(library, ProjectorRequest(str(seer), force=True))


def test_alone_it_goes_where_it_is_wanted(library: Library, seer: Path, tmp_path: Path) -> None:
    path = alone(library, ProjectorRequest(str(seer), QuantType.BF16, tmp_path))
    assert path == tmp_path / "seer-mmproj-BF16.gguf"
    assert read_gguf(path).metadata["general.file_type"] == QuantType.BF16.file_type
    with pytest.raises(LibraryError, match="is there already"):
        alone(library, ProjectorRequest(str(seer), QuantType.BF16, tmp_path))
    with pytest.raises(UsageError, match="does not become Q8_0"):
        alone(library, ProjectorRequest(str(seer), QuantType.Q8_0, tmp_path))
