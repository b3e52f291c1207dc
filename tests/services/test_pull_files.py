"""Which files a pull brings, where it puts them, and what it says beforehand."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from localq.cli.main import main
from localq.errors import HubError, LocalqError, NotFoundError, UsageError
from localq.events import JobEvent, Note, ignore
from localq.formats.gguf import Field, TensorLayout, ValueType, encode_header
from localq.formats.types import TensorType
from localq.hub.repository import HubSource
from localq.hub.spec import parse_spec
from localq.library import Library, ModelFormat
from localq.paths import Paths
from localq.services.pull.names import refuse_unsafe_names
from localq.services.pull.preview import PullPreview, preview_pull
from localq.services.pull.pull import PullRequest, PullResult, pull
from localq.services.pull.remote import kept_folder, open_remote_checkpoint
from tests.checkpoints import SMOLLM2_CONFIG, write_llama_checkpoint
from tests.hub_server import Cut, HubServer, Repo
from tests.streams import DEMO

CONFIG = {**SMOLLM2_CONFIG, "vocab_size": 512, "num_hidden_layers": 1}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = write_llama_checkpoint(tmp_path / "made", config=CONFIG)
    for path in ("README.md", "onnx/model.onnx", "flax_model.msgpack", "tiny-Q4_0.gguf"):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(path)
    return folder


@pytest.fixture
def repo(hub: HubServer, checkpoint: Path) -> Repo:
    return hub.add_repo("org/tiny", checkpoint)


def run(library: Library, spec: str, **options: Any) -> PullResult:
    request = PullRequest(spec, **options)
    return pull(library, request, lambda event: None, threading.Event())


def preview(library: Library, spec: str, **options: Any) -> PullPreview:
    request = PullRequest(spec, **options)
    return preview_pull(library, request, lambda event: None, threading.Event())


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def gguf(name: str = "t", file_type: int = 2) -> bytes:
    fields = [
        ("general.architecture", Field(ValueType.STRING, "llama")),
        ("general.file_type", Field(ValueType.UINT32, file_type)),
    ]
    tensors = [TensorLayout(name, TensorType.Q4_0, (32, 4), 0)]
    return encode_header(fields, tensors) + bytes(72).ljust(96, b"\0")


@pytest.fixture
def ggufs(hub: HubServer, tmp_path: Path) -> Repo:
    folder = tmp_path / "ggufs"
    (folder / "special").mkdir(parents=True)
    for quant in ("Q4_0", "Q8_0"):
        (folder / f"see-{quant}.gguf").write_bytes(gguf(quant))
    (folder / "special" / "see-best.gguf").write_bytes(gguf("best", 15))
    for type_ in ("BF16", "F16", "Q8_0"):
        (folder / f"mmproj-{type_}.gguf").write_bytes(gguf(f"eye-{type_}"))
    return hub.add_repo("org/see", folder)


def test_files_in_folders_stay_there(library: Library, hub: HubServer, checkpoint: Path) -> None:
    (checkpoint / "1_Pooling").mkdir()
    (checkpoint / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (checkpoint / "modules.json").write_text("[]")
    repo = hub.add_repo("org/embed", checkpoint)
    result = run(library, "org/embed")
    there = tree(result.model.path)
    assert there["1_Pooling/config.json"] == repo.files["1_Pooling/config.json"]
    assert there["config.json"] == repo.files["config.json"]
    assert "onnx/model.onnx" not in there
    assert run(library, "org/embed").already_there
    assert not library.paths.partial.exists() or list(library.paths.partial.iterdir()) == []


def test_more_files_are_added_to_what_is_there(
    library: Library, hub: HubServer, repo: Repo
) -> None:
    run(library, "org/tiny", exclude=("README.md",))
    hub.sent.clear()
    result = run(library, "org/tiny", include=("onnx/*",))
    assert set(hub.sent) == {"README.md", "onnx/model.onnx"}
    assert tree(result.model.path)["onnx/model.onnx"] == b"onnx/model.onnx"
    assert run(library, "org/tiny", include=("onnx/*",)).already_there
    assert run(library, "org/tiny").already_there
    everything = run(library, "org/tiny", everything=True).model
    assert tree(everything.path) == {k: v for k, v in repo.files.items() if k != "tiny-Q4_0.gguf"}
    assert everything.size_bytes == sum(map(len, tree(everything.path).values()))


def test_a_whole_commit_with_a_lost_file_is_mended(
    library: Library, hub: HubServer, repo: Repo
) -> None:
    model = run(library, f"org/tiny@{repo.commit}").model
    assert run(library, f"org/tiny@{repo.commit}").already_there
    (model.path / "tokenizer_config.json").unlink(missing_ok=True)
    (model.path / "config.json").unlink()
    assert not run(library, f"org/tiny@{repo.commit}").already_there
    assert (model.path / "config.json").read_bytes() == repo.files["config.json"]


def test_small_files_that_were_kept_before_are_checked_and_not_fetched_again(
    library: Library, hub: HubServer
) -> None:
    repo = hub.add_repo("org/demo", DEMO)
    spec, stop = parse_spec("org/demo"), threading.Event()
    source = HubSource.resolve(spec, emit=ignore, cancel=stop)
    open_remote_checkpoint(library.paths, source, ignore, stop)
    kept = kept_folder(library.paths, "org/demo", repo.commit)
    (kept / "config.json").write_bytes(bytes(len(repo.files["config.json"])))
    hub.sent.clear()
    missing = {file.path for file in preview(library, "org/demo").files if not file.present_bytes}
    assert missing == {"model.safetensors"}
    model = run(library, "org/demo").model
    assert set(hub.sent) == {"config.json", "model.safetensors"}
    assert all(repo.files[path] == content for path, content in tree(model.path).items())
    assert not kept.exists()


def test_what_the_hub_says_of_the_content_is_kept(library: Library, repo: Repo) -> None:
    model = run(library, "org/tiny").model
    known = library.hashes.of_model(model.name)
    assert len(known) == len(tree(model.path))
    for place, said in known.items():
        name = place.removeprefix("org/tiny/")
        assert said.sha256 == repo.files.contents[name].sha256()
        assert (said.said_by, said.verified_at is not None) == ("hub", True)


def test_a_file_by_its_path(library: Library, hub: HubServer, ggufs: Repo) -> None:
    model = run(library, "org/see:special/see-best.gguf").model
    assert (model.name, model.quant) == ("org/see:see-best", "Q4_K_M")
    assert model.path.read_bytes() == ggufs.files["special/see-best.gguf"]
    address = "https://huggingface.co/org/see/blob/main/see-Q8_0.gguf"
    assert run(library, address).model.name == "org/see:Q8_0"
    # The model sees, so that its projector comes along, once.
    assert set(hub.sent) == {"special/see-best.gguf", "see-Q8_0.gguf", "mmproj-F16.gguf"}
    assert run(library, "org/see:SEE-best").already_there
    with pytest.raises(NotFoundError, match="has no file"):
        run(library, "org/see:nothing.gguf")


def test_the_picture_encoder_is_kept_with_its_model(
    library: Library, hub: HubServer, ggufs: Repo
) -> None:
    events: list[JobEvent] = []
    request = PullRequest("org/see:Q4_0", mmproj=True)
    model = pull(library, request, events.append, threading.Event()).model
    eye = model.path.with_name("see-Q4_0-mmproj-F16.gguf")
    assert eye.read_bytes() == ggufs.files["mmproj-F16.gguf"]
    assert Note("of 3 picture encoders: mmproj-F16.gguf") in events
    assert (model.format, model.parameters) == (ModelFormat.GGUF, 128)
    assert model.size_bytes == len(ggufs.files["see-Q4_0.gguf"]) + len(eye.read_bytes())
    assert run(library, "org/see:Q4_0", mmproj=True).already_there
    second = run(library, "org/see:Q8_0", mmproj=True)
    assert second.downloaded_bytes == len(ggufs.files["see-Q8_0.gguf"])
    twin = second.model.path.with_name("see-Q8_0-mmproj-F16.gguf")
    assert twin.samefile(eye)
    library.remove("see:Q4_0")
    assert not eye.exists()
    assert twin.read_bytes() == ggufs.files["mmproj-F16.gguf"]


@pytest.mark.parametrize(
    ("spec", "options", "complaint"),
    [
        ("org/tiny", {"mmproj": True}, "--mmproj goes with a GGUF"),
        ("org/tiny:Q4_0", {"everything": True}, "are for checkpoints"),
        ("org/tiny:Q4_0", {"include": ("*",)}, "are for checkpoints"),
        ("org/tiny", {"include": ("*.pdf",)}, "no more files that match"),
        ("org/tiny", {"exclude": ("*.safetensors",)}, "no model without"),
    ],
)
def test_options_that_make_no_sense(
    library: Library, repo: Repo, spec: str, options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        run(library, spec, **options)
    assert caught.value.hint


def test_a_preview_lists_what_would_come_and_writes_nothing(
    library: Library, hub: HubServer, repo: Repo, home: Paths
) -> None:
    first = preview(library, "org/tiny")
    sizes = {file.path: file.size_bytes for file in first.files}
    expected = {k: len(v) for k, v in repo.files.items() if k in sizes}
    assert sizes == expected
    assert {"config.json", "model.safetensors", "README.md"} <= set(sizes)
    assert first.download_bytes == first.total_bytes == sum(expected.values())
    assert (first.repo, first.revision, first.already_there) == ("org/tiny", repo.commit, False)
    assert first.free_bytes > 0
    assert not home.data.exists()
    assert hub.sent.total() == 0


def test_a_preview_counts_what_is_here(library: Library, hub: HubServer, repo: Repo) -> None:
    hub.faults.append(Cut("model.safetensors", after=50_000, times=1))
    hub.faults += [Cut("model.safetensors", after=0, times=99)]
    with pytest.raises(LocalqError):
        pull(
            library,
            PullRequest("org/tiny"),
            lambda event: stop.set() if isinstance(event, Note) else None,
            stop := threading.Event(),
        )
    hub.faults.clear()
    begun = {file.path: file.present_bytes for file in preview(library, "org/tiny").files}
    assert begun["model.safetensors"] == 50_000
    run(library, "org/tiny")
    whole = preview(library, "org/tiny")
    assert (whole.already_there, whole.download_bytes) == (True, 0)
    more = preview(library, "org/tiny", include=("onnx/",))
    assert (more.already_there, more.download_bytes) == (False, len(b"onnx/model.onnx"))
    held = preview(library, f"org/tiny@{repo.commit}")
    assert (held.already_there, held.files) == (True, ())


@pytest.mark.parametrize(
    "path",
    [
        "../config.json",
        "/etc/passwd",
        "a/../../b.json",
        "a//b.json",
        "./b.json",
        "C:/b.json",
        "a\\b.json",
        "COM1.json",
        "a/nul/b.json",
        "aux",
        "a\x1b[2Jb",
        "a\u202eb",
        "a\nb",
        "cafe\u0301.json",
        "trailing.",
        "space /b",
        "x" * 256,
        "1/2/3/4/5/6/7/8/9.json",
        "model.safetensors.partial",
        "",
    ],
)
def test_names_that_must_not_reach_a_disk(path: str) -> None:
    with pytest.raises(HubError) as caught:
        refuse_unsafe_names("org/name", ["config.json", path])
    assert caught.value.message.isprintable()
    assert caught.value.hint


@pytest.mark.parametrize(
    "paths",
    [
        ("config.json", "Config.JSON"),
        ("a/x.json", "A/X.json"),
        ("caf\u00e9.json", "CAF\u00c9.json"),
        ("stra\u00dfe", "STRASSE"),
        ("a", "a/b"),
        ("a/b/c", "A/B"),
    ],
)
def test_names_that_would_fall_together(paths: tuple[str, ...]) -> None:
    with pytest.raises(HubError):
        refuse_unsafe_names("org/name", paths)
    refuse_unsafe_names("org/name", paths[:1])


def test_more_files_than_a_model_has() -> None:
    with pytest.raises(HubError, match="too many"):
        refuse_unsafe_names("org/name", [f"{number}.txt" for number in range(10_001)])


@pytest.mark.parametrize("name", ["../x.json", "a/CON/x.json", "a\x1b[2J.json", "Config.json"])
def test_all_means_no_hostile_file(
    library: Library, repo: Repo, home: Paths, hub: HubServer, name: str
) -> None:
    repo.extra_entries.append({"type": "file", "path": name, "size": 1, "oid": "0" * 40})
    with pytest.raises(HubError):
        run(library, "org/tiny", everything=True)
    assert hub.sent.total() == 0
    assert not home.models.exists()


def test_the_command_line_lists_and_pulls(
    hub: HubServer, repo: Repo, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pull", "org/tiny", "--dry-run", "--exclude", "README.md"]) == 0
    told = capsys.readouterr()
    assert "model.safetensors" in told.out
    assert "README.md" not in told.out
    assert "to download of" in told.err
    assert main(["pull", "org/tiny", "--dry-run", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["total_bytes"] == sum(file["size_bytes"] for file in document["files"])
    assert main(["pull", "org/tiny", "--include", "onnx/*", "--include", "*.msgpack"]) == 0
    assert capsys.readouterr().out == "org/tiny\n"
    assert main(["pull", "org/tiny", "--force"]) == 0
    assert main(["pull", "org/tiny", "--as", "q4_0", "--all"]) == 2
    assert main(["pull", "--as", "q4_0"]) == 2


def test_the_token_is_neither_logged_nor_stored_nor_shown(
    hub: HubServer,
    repo: Repo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    secret = "hf_neverseen"
    monkeypatch.setenv("HF_TOKEN", secret)
    monkeypatch.setattr("huggingface_hub.constants.HF_DEBUG", True)
    caplog.set_level("DEBUG")
    repo.gated_for = secret
    assert main(["pull", "org/tiny", "--json"]) == 0
    assert all(request.headers["Authorization"] == f"Bearer {secret}" for request in hub.requests)
    repo.gated_for = "hf_other"
    assert main(["pull", "org/tiny", "--include", "onnx/*"]) == 1
    told = capsys.readouterr()
    assert "accept its terms" in told.err
    assert caplog.records
    assert secret not in f"{told}{caplog.text}"
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) > 5
    assert not [path for path in kept if secret.encode() in path.read_bytes()]
