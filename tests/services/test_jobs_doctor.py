"""What unfinished jobs leave on disk, and what doctor makes of it."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from localq.errors import LibraryError
from localq.events import ignore
from localq.formats.types import QuantType
from localq.jobs import JobStore
from localq.library import Library
from localq.partials import journal_path, resumable_path
from localq.paths import Paths
from localq.services.doctor.doctor import CHECKS, doctor
from localq.services.jobs.jobs import clear_jobs
from localq.services.jobs.kinds import Request, draft_of
from localq.services.jobs.partials import claimed_folders, drop_partials
from localq.services.library.import_models import ImportRequest, import_models
from localq.services.make.quantize import QuantizeRequest, quantize
from localq.services.pull.pull import PullRequest
from localq.services.pull.stream import PullAsRequest
from tests.services.test_quantize import DEMO


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localq.services.doctor.orphans._SETTLE_SECONDS", 0.0)


def interrupted(library: Library, request: Request) -> int:
    """Record the request as that of a job whose process is gone."""
    job_id, lock = JobStore(library.paths).begin(draft_of(library, request))
    lock.release()
    return job_id


def problems(library: Library, *, repair: bool = False) -> list[str]:
    result = doctor(library, ignore, threading.Event(), repair=repair)
    return [finding.problem for finding in result.findings]


def test_doctor_names_interrupted_jobs(library: Library) -> None:
    job_id = interrupted(library, PullRequest("org/model"))
    (finding,) = doctor(library, ignore, threading.Event(), repair=True).findings
    assert finding.check in CHECKS
    assert finding.problem == "job 1 was interrupted: pull org/model"
    assert "localq jobs resume 1" in finding.remedy
    assert not finding.repairable
    clear_jobs(library, [job_id])
    assert problems(library) == []


def test_whole_files_of_an_interrupted_job_are_left_to_it(library: Library, tmp_path: Path) -> None:
    """Killed between the move and the entry: doctor cannot know of what revision it was made."""
    made = quantize(
        library,
        QuantizeRequest(QuantType.Q4_0, str(DEMO), tmp_path / "made.gguf"),
        ignore,
        threading.Event(),
    )
    place = library.gguf_path("org/model", "Q4_0")
    place.parent.mkdir(parents=True)
    shutil.copy(made.path, place)
    job_id = interrupted(library, PullAsRequest("org/model", QuantType.Q4_0))
    assert claimed_folders(library) == {place.parent}
    assert problems(library, repair=True) == ["job 1 was interrupted: pull org/model as Q4_0"]
    assert library.models() == []
    clear_jobs(library, [job_id])
    assert len(problems(library, repair=True)) == 1
    assert [model.name for model in library.models()] == ["org/model:Q4_0"]


def test_a_half_imported_checkpoint_is_not_taken_for_a_whole_one(
    library: Library, tmp_path: Path
) -> None:
    source = shutil.copytree(DEMO, tmp_path / "model")
    place = library.checkpoint_folder("local/model")
    place.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):  # and no tokenizer yet
        shutil.copy(source / name, place)
    interrupted(library, ImportRequest((source,)))
    assert len(problems(library, repair=True)) == 1
    assert library.models() == []


def half_made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"12345")
    return path


def test_partials_of_each_kind(library: Library, home: Paths, tmp_path: Path) -> None:
    source = shutil.copytree(DEMO, tmp_path / "model")
    key = "0123456789abcdef"
    inside = resumable_path(library.gguf_path("org/model", "Q4_0"), key)
    outside = resumable_path(tmp_path / "x.gguf", key)
    shard = resumable_path(tmp_path / "x-00002-of-00003.gguf", key)
    copied = resumable_path(home.partial / "model.safetensors", key)
    others = [
        half_made(resumable_path(tmp_path / "xx.gguf", key)),
        half_made(resumable_path(library.gguf_path("org/model", "Q8_0"), key)),
    ]
    for request, files in (
        (PullAsRequest("org/model", QuantType.Q4_0), [inside, journal_path(inside)]),
        (
            QuantizeRequest(QuantType.Q4_0, str(source), tmp_path / "x.gguf"),
            [outside, journal_path(outside), shard],
        ),
        (ImportRequest((source,), copy=True), [copied]),
        (PullRequest("org/model"), [home.partial / "org" / "model" / "abc" / "config.json"]),
    ):
        for file in files:
            half_made(file)
        assert drop_partials(library, request) == 5 * len(files)
        assert not [file for file in files if file.exists()]
        assert drop_partials(library, request) == 0
    assert all(file.exists() for file in others)


def test_partials_of_what_llama_cpp_alone_can_read(library: Library, tmp_path: Path) -> None:
    source = shutil.copytree(DEMO, tmp_path / "model")
    config = json.loads((source / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "odd"}
    (source / "config.json").write_text(json.dumps(config))
    target = tmp_path / "x.gguf"
    file = half_made(resumable_path(target, "0123456789abcdef"))
    request = QuantizeRequest(QuantType.Q4_0, str(source), target, with_llama_cpp=True)
    assert drop_partials(library, request) == 5
    assert not file.exists()


def test_what_is_gone_leaves_no_claims(library: Library, tmp_path: Path) -> None:
    request = QuantizeRequest(QuantType.Q4_0, str(tmp_path / "gone"))
    interrupted(library, request)
    assert claimed_folders(library) == set()
    assert drop_partials(library, request) == 0
    assert drop_partials(library, ImportRequest((tmp_path / "gone",))) == 0


def test_a_move_that_was_killed_is_ended(library: Library, tmp_path: Path) -> None:
    source = shutil.copytree(DEMO, tmp_path / "model")
    linked = ImportRequest((source,))
    import_models(library, linked, ignore, threading.Event())
    (source / "model.safetensors").unlink()  # as far as the move had come
    moved = import_models(library, replace(linked, move=True), ignore, threading.Event())
    assert [one.already_there for one in moved.imported] == [True]
    assert not (source / "config.json").exists()
    place = library.checkpoint_folder("local/model")
    assert (place / "config.json").is_file()
    assert (place / "model.safetensors").is_file()


def test_a_move_never_takes_the_librarys_only_copy(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = shutil.copytree(DEMO, tmp_path / "model")
    with monkeypatch.context() as elsewhere:  # on another disk: it is only referred to
        for way in ("hard_link", "reflink"):
            elsewhere.setattr(f"localq.services.library.adopt.{way}", lambda *_: False)
        import_models(library, ImportRequest((source,)), ignore, threading.Event())
    (model,) = library.models()
    assert model.external
    import_models(library, ImportRequest((source,), move=True), ignore, threading.Event())
    assert (source / "model.safetensors").is_file()
    place = stored_checkpoint(library)
    with pytest.raises(LibraryError, match="own folder"):
        import_models(library, ImportRequest((place,), move=True), ignore, threading.Event())
    assert (place / "model.safetensors").is_file()


def stored_checkpoint(library: Library) -> Path:
    """The demo, as a checkpoint in the library's own folder that no entry has."""
    return shutil.copytree(DEMO, library.checkpoint_folder("org/own"))
