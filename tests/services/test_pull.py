"""`localq pull` from end to end, against a Hub on the loopback interface."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

import localq
from localq.errors import (
    BadFileError,
    Cancelled,
    HubError,
    LibraryError,
    NotFoundError,
    OfflineError,
    StorageError,
    UnsupportedError,
    UsageError,
)
from localq.events import JobEvent, Note, Progress, Started, ignore
from localq.formats.gguf import Field, TensorLayout, ValueType, encode_header
from localq.formats.types import TensorType
from localq.hardware import Memory
from localq.library import Library, ModelFormat, ModelSource
from localq.paths import Paths
from localq.services.library.verify import Verdict, verify
from localq.services.pull.pull import PullRequest, PullResult, choices, pull, recipe_here
from tests.checkpoints import (
    SMOLLM2_CONFIG,
    RawTensor,
    read_safetensors,
    write_llama_checkpoint,
)
from tests.hub_server import (
    Cut,
    FlipByte,
    HubServer,
    Refuse,
    Repo,
    Slow,
    closed_port_url,
)
from tests.torch_files import write_torch

SMALL_CONFIG = {**SMOLLM2_CONFIG, "vocab_size": 512, "num_hidden_layers": 2}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = write_llama_checkpoint(tmp_path / "made", config=SMALL_CONFIG, shards=2)
    (folder / "README.md").write_text("# Made of chance\n")
    (folder / "pytorch_model.bin").write_bytes(b"no")
    return folder


@pytest.fixture
def repo(hub: HubServer, checkpoint: Path) -> Repo:
    return hub.add_repo("org/tiny", checkpoint)


def run(
    library: Library, spec: str | None = None, events: list[JobEvent] | None = None
) -> PullResult:
    emit = (events if events is not None else []).append
    return pull(library, PullRequest(spec), emit, threading.Event())


def leftovers(home: Paths) -> list[str]:
    """Files of unfinished downloads."""
    return sorted(path.name for path in home.partial.rglob("*") if path.is_file())


def served(repo: Repo) -> dict[str, bytes]:
    return {name: data for name, data in repo.files.items() if name != "pytorch_model.bin"}


def on_disk(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_checkpoint_arrives_whole_and_catalogued(
    library: Library, repo: Repo, home: Paths
) -> None:
    events: list[JobEvent] = []
    result = run(library, "org/tiny", events)
    model = result.model
    assert (model.name, model.format, model.quant) == ("org/tiny", ModelFormat.SAFETENSORS, "BF16")
    assert model.architecture == "LlamaForCausalLM"
    assert model.source == ModelSource("org/tiny", repo.commit)
    assert model.path == home.models / "org" / "tiny"
    assert on_disk(model.path) == served(repo)
    assert model.size_bytes == result.downloaded_bytes == sum(map(len, served(repo).values()))
    assert model.parameters > 500_000
    assert not result.already_there
    assert library.find("tiny") == model
    assert leftovers(home) == []
    assert events[0] == Started("pulling org/tiny")
    assert isinstance(events[-1], Progress)
    assert events[-1].done == events[-1].total == model.size_bytes


def test_a_second_pull_fetches_nothing_and_counts_as_use(
    library: Library, repo: Repo, hub: HubServer
) -> None:
    first = run(library, "org/tiny")
    sent = hub.sent.total()
    hub.renamed["ORG/Tiny"] = "org/tiny"
    second = run(library, "ORG/Tiny")
    assert (second.already_there, second.downloaded_bytes) == (True, 0)
    assert second.model.used_at > first.model.used_at
    assert hub.sent.total() == sent


def test_a_whole_commit_that_is_here_needs_no_network(
    library: Library, repo: Repo, hub: HubServer
) -> None:
    run(library, f"org/tiny@{repo.commit}")
    asked = len(hub.requests)
    assert run(library, f"org/tiny@{repo.commit}").already_there
    assert len(hub.requests) == asked


def test_a_lost_file_is_fetched_again(library: Library, repo: Repo, hub: HubServer) -> None:
    model = run(library, "org/tiny").model
    shards = [name for name in repo.files if name.endswith("00002.safetensors")]
    (model.path / shards[0]).unlink()
    sent = hub.sent.total()
    again = run(library, "org/tiny")
    assert on_disk(model.path) == served(repo)
    assert again.downloaded_bytes == hub.sent.total() - sent == len(repo.files[shards[0]])


def test_force_fetches_what_is_damaged_and_keeps_what_the_user_wrote(
    library: Library, repo: Repo, hub: HubServer
) -> None:
    model = run(library, "org/tiny").model
    library.labels.set_note(model.name, "the good one")
    shard = next(name for name in repo.files if name.endswith("00002.safetensors"))
    with (model.path / shard).open("r+b") as file:
        file.seek(-1, 2)
        file.write(bytes([repo.files[shard][-1] ^ 1]))
    with pytest.raises(LibraryError, match="is not what was pulled") as caught:
        run(library, "org/tiny")
    (found,) = verify(library, ("tiny",), ignore, threading.Event()).models
    assert found.mend == f"localq pull org/tiny@{repo.commit} --force" == caught.value.hint
    request = PullRequest(f"org/tiny@{repo.commit}", force=True)
    again = pull(library, request, ignore, threading.Event())
    assert again.downloaded_bytes == len(repo.files[shard])
    assert on_disk(model.path) == served(repo)
    assert again.model.note == "the good one"
    assert verify(library, ("tiny",), ignore, threading.Event()).good


def test_a_new_revision_fetches_only_what_changed(
    library: Library, repo: Repo, hub: HubServer, checkpoint: Path, home: Paths
) -> None:
    old = run(library, "org/tiny").model
    (checkpoint / "README.md").write_text("# A new card\n")
    (checkpoint / "generation_config.json").write_text("{}")
    (checkpoint / "LICENSE").write_text("free")
    new_repo = hub.add_repo("org/tiny", checkpoint)
    hub.sent.clear()
    result = run(library, "org/tiny")
    assert set(hub.sent) == {"README.md", "generation_config.json", "LICENSE"}
    assert on_disk(result.model.path) == served(new_repo)
    assert result.model.source.revision == new_repo.commit != old.source.revision
    (checkpoint / "LICENSE").unlink()
    hub.add_repo("org/tiny", checkpoint)
    assert "LICENSE" not in on_disk(run(library, "org/tiny").model.path)
    assert leftovers(home) == []


def test_continues_after_a_stop(library: Library, repo: Repo, hub: HubServer, home: Paths) -> None:
    cancel = threading.Event()
    hub.faults.append(Slow("00002.safetensors", bytes_per_second=100_000))

    def stop_when_the_first_is_there(event: JobEvent) -> None:
        if any(path.read_bytes() for path in home.partial.rglob("README.md")):
            cancel.set()

    with pytest.raises(Cancelled):
        pull(library, PullRequest("org/tiny"), stop_when_the_first_is_there, cancel)
    assert library.models() == []
    assert "README.md" in leftovers(home)
    assert not home.models.exists()
    hub.sent.clear()
    result = run(library, "org/tiny")
    assert "README.md" not in hub.sent
    assert on_disk(result.model.path) == served(repo)
    assert leftovers(home) == []


def test_everything_that_can_go_wrong_once_goes_right_in_the_end(
    library: Library, repo: Repo, hub: HubServer
) -> None:
    hub.faults += [
        Refuse("/revision/main", headers={"Retry-After": "0"}),
        Refuse(repo.commit, status=429, headers={"Retry-After": "0"}),
        Cut("00001-of-00002.safetensors", after=100_000),
        FlipByte("00002-of-00002.safetensors", at=1000),
        FlipByte("config.json", at=1),
    ]
    assert on_disk(run(library, "org/tiny").model.path) == served(repo)
    assert hub.fault("main") is None


def test_damage_leaves_no_entry(library: Library, repo: Repo, hub: HubServer, home: Paths) -> None:
    hub.faults.append(FlipByte("00002-of-00002.safetensors", at=0, times=2))
    with pytest.raises(HubError, match=r"model-00002-of-00002\.safetensors arrived damaged"):
        run(library, "org/tiny")
    assert library.models() == []
    assert not home.models.exists()


def test_a_repository_whose_files_are_bad_leaves_nothing(
    library: Library, hub: HubServer, checkpoint: Path, home: Paths
) -> None:
    (checkpoint / "model-00001-of-00002.safetensors").write_bytes(b"\xff" * 64)
    hub.add_repo("org/bad", checkpoint)
    with pytest.raises(BadFileError, match=r"^org/bad/model-00001-of-00002\.") as caught:
        run(library, "org/bad")
    assert "published so" in str(caught.value.hint)
    assert library.models() == []
    assert leftovers(home) == []


@pytest.mark.parametrize(
    "name",
    [
        "../model-x.safetensors",
        "../../../../etc/model.safetensors",
        "/model.safetensors",
        "..\\model.safetensors",
        "C:model.safetensors",
        "model\x1b[2J.safetensors",
        "model\u202e.safetensors",
        "model .safetensors.",
    ],
)
def test_hostile_file_names_are_refused(
    library: Library, hub: HubServer, tmp_path: Path, home: Paths, name: str
) -> None:
    folder = tmp_path / "hostile"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    repo = hub.add_repo("org/hostile", folder)
    lfs = {"oid": "0" * 64, "size": 5, "pointerSize": 134}
    repo.extra_entries.append(
        {"type": "file", "path": name, "size": 5, "oid": "0" * 40, "lfs": lfs}
    )
    with pytest.raises((HubError, UnsupportedError)) as caught:
        run(library, "org/hostile")
    assert caught.value.message.isprintable()
    assert not home.data.exists() or not any(p.is_file() for p in home.data.rglob("*"))
    assert not any("resolve" in path for path in hub.paths())


def test_device_names_are_refused(library: Library, hub: HubServer, repo: Repo) -> None:
    repo.name = "org/con"
    hub.repos["org/con"] = repo
    with pytest.raises(UsageError, match="device"):
        run(library, "org/con")


def test_names_that_differ_in_capitals_only_are_refused(
    library: Library, hub: HubServer, repo: Repo
) -> None:
    index = {"weight_map": {"a": "model-a.safetensors", "b": "model-A.safetensors"}}
    repo.files["model.safetensors.index.json"] = json.dumps(index).encode()
    repo.files |= {"model-a.safetensors": b"a", "model-A.safetensors": b"b"}
    with pytest.raises(HubError, match="differ only in capitals"):
        run(library, "org/tiny")


def test_weights_that_cannot_be_read_are_refused_before_they_are_fetched(
    library: Library, hub: HubServer, tmp_path: Path
) -> None:
    folder = tmp_path / "strange"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "strange.safetensors").write_bytes(b"x")
    (folder / "stranger.safetensors").write_bytes(b"x")
    hub.add_repo("org/strange", folder)
    with pytest.raises(UnsupportedError, match=r"2 files of weights and no index \(strange\.saf"):
        run(library, "org/strange")
    assert hub.sent.total() == 0


def test_pytorchs_own_files_are_taken_where_there_are_no_others(
    library: Library, hub: HubServer, checkpoint: Path
) -> None:
    tensors: dict[str, RawTensor] = {}
    for shard in sorted(checkpoint.glob("*.safetensors")):
        tensors |= read_safetensors(shard)
        shard.unlink()
    (checkpoint / "model.safetensors.index.json").unlink()
    write_torch(checkpoint / "pytorch_model.bin", tensors)
    hub.add_repo("org/pickled", checkpoint)
    model = run(library, "org/pickled").model
    assert (model.quant, model.architecture) == ("BF16", "LlamaForCausalLM")
    assert (model.path / "pytorch_model.bin").is_file()


def test_a_full_disk_is_noticed_first(
    library: Library, repo: Repo, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(Path.cwd())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(StorageError, match="are needed"):
        run(library, "org/tiny")
    assert hub.sent.total() == 0


def test_missing_models_and_wrong_names(library: Library, hub: HubServer, repo: Repo) -> None:
    with pytest.raises(NotFoundError):
        run(library, "org/nothing")
    with pytest.raises(NotFoundError, match="revision"):
        run(library, "org/tiny@nothing")
    with pytest.raises(UsageError):
        run(library, "tiny")


def test_a_gated_model_says_what_to_do(library: Library, repo: Repo) -> None:
    repo.gated_for = "hf_x"
    with pytest.raises(HubError, match="gated") as caught:
        run(library, "org/tiny")
    assert "accept its terms" in str(caught.value.hint)


def test_a_renamed_model_gets_its_new_name(library: Library, hub: HubServer, repo: Repo) -> None:
    hub.renamed["old/tiny"] = "org/tiny"
    events: list[JobEvent] = []
    assert run(library, "old/tiny", events).model.name == "org/tiny"
    assert Note("old/tiny is now called org/tiny") in events


def gguf_bytes(name: str) -> bytes:
    fields = [
        ("general.architecture", Field(ValueType.STRING, "llama")),
        ("general.file_type", Field(ValueType.UINT32, 2)),
    ]
    tensors = [TensorLayout(name, TensorType.Q4_0, (32, 4), 0)]
    return encode_header(fields, tensors) + bytes(72).ljust(96, b"\0")


def test_a_gguf_is_fetched_alone(
    library: Library, hub: HubServer, tmp_path: Path, home: Paths
) -> None:
    folder = tmp_path / "ggufs"
    folder.mkdir()
    for quant in ("Q4_0", "Q8_0"):
        (folder / f"tiny-{quant}.gguf").write_bytes(gguf_bytes(quant))
    repo = hub.add_repo("org/tiny-GGUF", folder)
    model = run(library, "org/tiny-GGUF:q4_0").model
    assert (model.name, model.format, model.quant) == (
        "org/tiny-GGUF:Q4_0",
        ModelFormat.GGUF,
        "Q4_0",
    )
    assert model.path == home.models / "org" / "tiny-GGUF" / "tiny-GGUF-Q4_0.gguf"
    assert model.path.read_bytes() == repo.files["tiny-Q4_0.gguf"]
    assert (model.architecture, model.parameters) == ("llama", 128)
    assert list(hub.sent) == ["tiny-Q4_0.gguf"]
    assert library.find_gguf("tiny-GGUF").name == model.name
    assert run(library, "org/tiny-GGUF:Q4_0").already_there
    with pytest.raises(NotFoundError, match="it has Q4_0, Q8_0"):
        run(library, "org/tiny-GGUF:Q6_K")
    with pytest.raises(UnsupportedError, match="say which"):
        run(library, "org/tiny-GGUF")


def test_a_split_gguf_is_one_model(
    library: Library, hub: HubServer, tmp_path: Path, home: Paths
) -> None:
    folder = tmp_path / "ggufs" / "Q8_0"
    folder.mkdir(parents=True)
    for number in (1, 2):
        (folder / f"big-Q8_0-0000{number}-of-00002.gguf").write_bytes(gguf_bytes(f"t{number}"))
    hub.add_repo("org/big", folder.parent)
    model = run(library, "org/big:Q8_0").model
    assert model.path.name == "big-Q8_0-00001-of-00002.gguf"
    assert model.parameters == 256
    assert sorted(on_disk(model.path.parent)) == [
        "big-Q8_0-00001-of-00002.gguf",
        "big-Q8_0-00002-of-00002.gguf",
    ]
    assert library.remove("big").frees_bytes == model.size_bytes


def test_the_demo_needs_no_network(
    library: Library, home: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    events: list[JobEvent] = []
    result = run(library, "demo", events)
    model = result.model
    assert (model.name, model.quant) == ("demo/stories260K", "BF16")
    assert model.source == ModelSource("demo/stories260K", None)
    assert {"config.json", "model.safetensors", "tokenizer.model"} <= set(on_disk(model.path))
    assert (result.downloaded_bytes, result.already_there) == (0, False)
    assert {event.stage for event in events if isinstance(event, Progress)} == {"copying"}
    assert run(library, "demo/stories260K").already_there
    assert leftovers(home) == []


def test_offline_is_an_error_unless_the_model_is_here(
    library: Library, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OfflineError, match="HF_HUB_OFFLINE"):
        run(library, "org/tiny")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    run(library, "org/tiny")
    monkeypatch.setenv("HF_ENDPOINT", closed_port_url())
    events: list[JobEvent] = []
    assert run(library, "org/tiny", events).already_there
    assert [event.warning for event in events if isinstance(event, Note)] == [True]
    with pytest.raises(OfflineError):
        run(library, "org/tiny@other")


def write_recipe(text: str) -> Path:
    path = Path.cwd() / "localq.toml"
    path.write_text(text)
    return path


def test_the_recipe_of_this_folder_is_followed(
    library: Library, hub: HubServer, repo: Repo
) -> None:
    repo.branches = {"v1"}
    assert recipe_here() is None
    path = write_recipe('[model]\nrepo = "org/tiny"\nrevision = "v1"\n[quantize]\ntype = "q4_0"\n')
    assert recipe_here() == path
    events: list[JobEvent] = []
    model = run(library, None, events).model
    assert model.source == ModelSource("org/tiny", repo.commit)
    assert any(isinstance(event, Note) and "localq.toml" in event.text for event in events)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[model]\nrepo = "tiny"', "model: 'tiny' does not name a model"),
        ('[model]\nrepo = "org/tiny:q4_0"', "starts from a checkpoint"),
        ('[model]\nrepo = "org/tiny"\nrevision = "../x"', "is not a revision"),
    ],
)
def test_a_wrong_recipe_is_named(
    library: Library, hub: HubServer, text: str, complaint: str
) -> None:
    path = write_recipe(text)
    with pytest.raises(BadFileError, match=complaint) as caught:
        run(library)
    assert caught.value.path == path


def test_a_recipe_that_cannot_be_followed_is_not_replaced_by_the_demo(
    library: Library, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_recipe('[model]\nrepo = "org/tiny"')
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OfflineError):
        run(library)


def small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localq.hardware.memory", lambda: Memory(8 * 10**9, 5 * 10**9))


def test_without_a_name_the_recommended_model_is_taken(
    library: Library, hub: HubServer, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_machine(monkeypatch)
    first, *others = choices(library)
    assert first.recommended
    assert first.repo == "google/gemma-4-E2B-it"
    assert others
    assert not any(choice.recommended for choice in others)
    hub.add_repo(first.repo, checkpoint)
    events: list[JobEvent] = []
    assert run(library, None, events).model.name == first.repo
    assert events[0] == Note(f"taking {first.repo}: {first.why}")


@pytest.mark.parametrize("how", ["offline", "unreachable"])
def test_without_a_name_and_a_network_the_demo_is_taken(
    library: Library, hub: HubServer, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    small_machine(monkeypatch)
    if how == "offline":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    else:
        monkeypatch.setenv("HF_ENDPOINT", closed_port_url())
    events: list[JobEvent] = []
    assert run(library, None, events).model.name == "demo/stories260K"
    warnings = [e.text for e in events if isinstance(e, Note) and e.warning]
    assert len(warnings) == 1
    assert warnings[0].endswith("taking the demo instead")


def test_a_download_that_fails_is_no_reason_for_the_demo(
    library: Library, hub: HubServer, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_machine(monkeypatch)
    hub.add_repo(choices(library)[0].repo, checkpoint)
    hub.faults.append(Refuse("config.json", status=451))
    with pytest.raises(HubError, match="451"):
        run(library)
    assert library.models() == []


@pytest.mark.parametrize("name", ["config.json", "README.md", "model-00001-of-00002.safetensors"])
def test_an_edit_after_the_pull_is_seen(library: Library, repo: Repo, name: str) -> None:
    path = run(library, "org/tiny").model.path / name
    assert len(library.hashes.of_model("org/tiny")) == len(served(repo))
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    (check,) = verify(library, ("org/tiny",), ignore, threading.Event()).models
    assert [(one.path, one.verdict) for one in check.files if not one.verdict.good] == [
        (path, Verdict.CHANGED)
    ]


def test_what_is_in_the_trash_is_not_fetched_again(
    library: Library, repo: Repo, hub: HubServer
) -> None:
    run(library, "org/tiny")
    library.remove("org/tiny")
    hub.sent.clear()
    result = run(library, "org/tiny")
    assert result.downloaded_bytes == 0
    assert on_disk(result.model.path) == served(repo)
    assert verify(library, ("org/tiny",), ignore, threading.Event()).good


def test_from_python_a_model_is_pulled(home: Paths) -> None:
    pulled = localq.pull("demo")
    assert pulled.model.name == "demo/stories260K"
    assert localq.pull("demo").already_there
