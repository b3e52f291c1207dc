"""`localq pull --as`: what streams through equals what is pulled and then quantized."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from localq.errors import (
    BadFileError,
    HubError,
    LibraryError,
    LocalqError,
    NotFoundError,
    OfflineError,
    StorageError,
    UnsupportedError,
    UsageError,
)
from localq.events import JobEvent, Note, Progress, Started, ignore
from localq.formats.types import QuantType
from localq.library import Library, ModelSource
from localq.library.hashes import SaidBy
from localq.paths import Paths
from localq.services.make import making
from localq.services.pull.pull import PullRequest, pull
from tests.checkpoints import (
    LLAMA2_CONFIG,
    write_llama_checkpoint,
)
from tests.families import FAMILIES, write_family
from tests.hub_server import HubServer, Refuse, closed_port_url
from tests.streams import (
    HEADER_BYTES,
    demo_in_shards,
    eventually,
    on_disk,
    quantized,
    reshard,
    run,
    weights_sent,
)

QUICK_FAMILIES = {
    "mistral-fp8": QuantType.Q4_0,
    "qwen3-fp8": QuantType.BF16,
    "mixtral-tiny": QuantType.Q4_K_M,
    "gemma2-tiny": QuantType.Q8_0,
    "internlm2-tiny": QuantType.F16,
    "phi35-longrope": QuantType.Q4_0,
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return demo_in_shards(tmp_path / "tiny")


def test_quantized_while_it_comes(
    library: Library, hub: HubServer, checkpoint: Path, home: Paths
) -> None:
    repo = hub.add_repo("org/tiny", checkpoint)
    events: list[JobEvent] = []
    result = run(library, emit=events.append)
    assert result.model.name == "org/tiny:Q4_0"
    assert result.model.source == ModelSource("org/tiny", repo.commit)
    assert library.models() == [result.model]
    expected = quantized(library, checkpoint)
    assert result.model.path.read_bytes() == expected
    assert result.model.size_bytes == len(expected)
    assert on_disk(home) == ["tiny-Q4_0.gguf"]
    shards = sum(path.stat().st_size for path in checkpoint.glob("*.safetensors"))
    assert weights_sent(hub) <= shards + 3 * HEADER_BYTES
    assert eventually(lambda: result.downloaded_bytes == hub.sent.total())
    assert events[0] == Started("org/tiny -> Q4_0")
    bars = [event for event in events if isinstance(event, Progress)]
    assert {bar.stage for bar in bars} == {"downloading and quantizing"}
    assert bars[-1].done == bars[-1].total == shards
    assert not [event for event in events if isinstance(event, Note)]
    (known,) = library.hashes.all().values()
    assert (known.sha256, known.said_by) == (sha256(expected).hexdigest(), SaidBy.MADE)


@pytest.mark.parametrize(("family", "type_"), QUICK_FAMILIES.items(), ids=QUICK_FAMILIES)
def test_every_kind_of_tensor(
    library: Library, hub: HubServer, material: Path, tmp_path: Path, family: str, type_: QuantType
) -> None:
    folder = write_family(tmp_path / "tiny", family, material)
    hub.add_repo("org/tiny", folder)
    expected = quantized(library, folder, type_)
    assert run(library, type_).model.path.read_bytes() == expected
    (known,) = library.hashes.all().values()
    assert known.sha256 == sha256(expected).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("type_", [QuantType.F16, QuantType.Q4_0])
@pytest.mark.parametrize("family", sorted(path.stem for path in FAMILIES.glob("*.json")))
def test_every_family(
    library: Library, hub: HubServer, material: Path, tmp_path: Path, family: str, type_: QuantType
) -> None:
    folder = write_family(tmp_path / "tiny", family, material)
    hub.add_repo("org/tiny", folder)
    assert run(library, type_).model.path.read_bytes() == quantized(library, folder, type_)


@pytest.mark.slow
@pytest.mark.parametrize("type_", [QuantType.F32, QuantType.Q4_K_M, QuantType.Q8_0])
@pytest.mark.parametrize("dtype", ["F16", "F32", "BF16"])
def test_every_dtype(
    library: Library, hub: HubServer, material: Path, tmp_path: Path, dtype: str, type_: QuantType
) -> None:
    folder = write_llama_checkpoint(
        tmp_path / "tiny",
        config=LLAMA2_CONFIG,
        dtype=dtype,
        shards=3,
        tokenizer_from=material / "tokenizers" / "llama2",
    )
    hub.add_repo("org/tiny", folder)
    assert run(library, type_).model.path.read_bytes() == quantized(library, folder, type_)


@pytest.mark.parametrize(
    "shard_of",
    [
        lambda number, name: int(name.endswith("_scale_inv")),
        lambda number, name: int(not name.endswith("_scale_inv")),
        lambda number, name: number % 4,
    ],
    ids=["factors last", "factors first", "all mixed"],
)
def test_factors_in_other_shards_than_their_weights(
    library: Library,
    hub: HubServer,
    material: Path,
    tmp_path: Path,
    shard_of: Callable[[int, str], int],
) -> None:
    folder = reshard(write_family(tmp_path / "tiny", "mistral-fp8", material), shard_of)
    hub.add_repo("org/tiny", folder)
    assert run(library).model.path.read_bytes() == quantized(library, folder)


def test_experts_of_one_tensor_in_several_shards(
    library: Library, hub: HubServer, material: Path, tmp_path: Path
) -> None:
    folder = write_family(tmp_path / "tiny", "mixtral-tiny", material)
    reshard(folder, lambda number, name: number % 5)
    hub.add_repo("org/tiny", folder)
    assert run(library).model.path.read_bytes() == quantized(library, folder)


def test_already_there(library: Library, hub: HubServer, checkpoint: Path) -> None:
    hub.add_repo("org/tiny", checkpoint)
    first = run(library)
    sent = hub.sent.total()
    events: list[JobEvent] = []
    again = run(library, emit=events.append)
    assert again.already_there
    assert again.model.path == first.model.path
    assert hub.sent.total() == sent
    assert any(isinstance(event, Note) and "--force" in event.text for event in events)
    anew = run(library, force=True)
    assert not anew.already_there
    assert hub.sent.total() > sent


def test_another_revision_wants_force(library: Library, hub: HubServer, checkpoint: Path) -> None:
    first = hub.add_repo("org/tiny", checkpoint)
    run(library)
    (checkpoint / "README.md").write_text("# new\n")
    second = hub.add_repo("org/tiny", checkpoint)
    with pytest.raises(LibraryError, match="another revision") as caught:
        run(library)
    assert caught.value.hint == "make it anew with --force"
    assert run(library, force=True).model.source.revision == second.commit
    old = run(library, spec=f"org/tiny@{first.commit}", force=True)
    assert old.model.source.revision == first.commit


def test_offline_what_is_there_is_good(
    library: Library, hub: HubServer, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_repo("org/tiny", checkpoint)
    monkeypatch.setenv("HF_ENDPOINT", closed_port_url())
    with pytest.raises(OfflineError):
        run(library)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    run(library)
    monkeypatch.setenv("HF_ENDPOINT", closed_port_url())
    events: list[JobEvent] = []
    assert run(library, emit=events.append).already_there
    assert any(isinstance(event, Note) and event.warning for event in events)


def test_a_checkpoint_that_was_pulled_is_not_fetched_again(
    library: Library, hub: HubServer, checkpoint: Path
) -> None:
    repo = hub.add_repo("org/tiny", checkpoint)
    pull(library, PullRequest("org/tiny"), ignore, threading.Event())
    sent = hub.sent.total()
    result = run(library)
    assert (result.downloaded_bytes, hub.sent.total()) == (0, sent)
    assert result.model.name == "org/tiny:Q4_0"
    assert result.model.source == ModelSource("org/tiny", repo.commit)


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (
            lambda root: edit_config(root, architectures=["XverseForCausalLM"]),
            UnsupportedError,
            "'XverseForCausalLM'",
        ),
        (
            lambda root: edit_config(root, num_hidden_layers=-1),
            BadFileError,
            "num_hidden_layers",
        ),
        (
            lambda root: (root / "tokenizer.model").unlink(),
            NotFoundError,
            "tokenizer",
        ),
        (
            lambda root: (root / "tokenizer.model").write_bytes(b"nonsense"),
            BadFileError,
            "tokenizer.model",
        ),
        (
            lambda root: (root / "config.json").unlink(),
            NotFoundError,
            "no config.json",
        ),
        (
            lambda root: (root / "model-00002-of-00003.safetensors").unlink(),
            HubError,
            "3 files, of which 1 are not there",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_weights_are_fetched(
    library: Library,
    hub: HubServer,
    checkpoint: Path,
    home: Paths,
    spoil: Callable[[Path], object],
    error: type[LocalqError],
    message: str,
) -> None:
    spoil(checkpoint)
    hub.add_repo("org/tiny", checkpoint)
    with pytest.raises(error, match=message) as caught:
        run(library)
    assert "\n" not in caught.value.message
    assert "org/tiny" in caught.value.message or error is UnsupportedError
    assert str(home.cache) not in f"{caught.value.message} {caught.value.hint}"
    assert all(
        count <= HEADER_BYTES for path, count in hub.sent.items() if path.endswith(".safetensors")
    )
    assert library.models() == []
    assert not home.data.exists()


def test_a_type_that_needs_an_importance_matrix(
    library: Library, hub: HubServer, material: Path, tmp_path: Path
) -> None:
    hub.add_repo("org/tiny", write_family(tmp_path / "tiny", "mixtral-tiny", material))
    with pytest.raises(UnsupportedError, match="importance matrix"):
        run(library, QuantType.IQ2_XXS)
    assert weights_sent(hub) <= 2 * HEADER_BYTES


def test_the_disk_must_have_room_before_weights_are_fetched(
    library: Library, hub: HubServer, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_repo("org/tiny", checkpoint)
    usage = shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000)
    monkeypatch.setattr("localq.services.make.destination.shutil.disk_usage", lambda _: usage)
    with pytest.raises(StorageError, match="the disk has 1,000 left"):
        run(library)
    assert weights_sent(hub) <= 3 * HEADER_BYTES


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A real filesystem of that size at `folder`."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("may not mount a small disk here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_the_checkpoint_is_never_on_disk(
    hub: HubServer, material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_family(tmp_path / "tiny", "mixtral-tiny", material)
    assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) > 13_000_000
    hub.add_repo("org/tiny", folder)
    disk = tmp_path / "disk"
    with small_disk(disk, 5_000_000):
        monkeypatch.setenv("LOCALQ_HOME", str(disk))
        small = Library()
        result = run(small)
        assert result.model.path.read_bytes() == quantized(small, folder)
        sent = weights_sent(hub)
        with pytest.raises(StorageError, match="the disk has"):
            run(small, QuantType.Q8_0)
        assert weights_sent(hub) <= sent + 2 * HEADER_BYTES


@pytest.mark.slow
def test_two_gigabytes_through_a_disk_of_less_than_one(
    hub: HubServer, material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.checkpoint import make_checkpoint

    folder = tmp_path / "tiny"
    make_checkpoint(folder, 1.06, material / "tokenizers" / "llama2")
    hub.add_repo("org/tiny", folder)
    disk = tmp_path / "disk"
    with small_disk(disk, 700_000_000):
        monkeypatch.setenv("LOCALQ_HOME", str(disk))
        small = Library()
        result = run(small)
        assert result.downloaded_bytes > 2_100_000_000
        assert result.model.path.read_bytes() == quantized(small, folder)
    shutil.rmtree(folder)


def test_weights_that_are_pickled(
    library: Library, hub: HubServer, checkpoint: Path, home: Paths
) -> None:
    for path in checkpoint.glob("*.safetensors*"):
        path.unlink()
    (checkpoint / "pytorch_model.bin").write_bytes(b"no")
    hub.add_repo("org/tiny", checkpoint)
    with pytest.raises(UnsupportedError, match=r"pytorch_model\.bin") as caught:
        run(library, QuantType.Q5_1)
    hint = "localq pull org/tiny, then: localq quantize q5_1 org/tiny"
    assert caught.value.hint == hint
    assert hub.sent.total() == 0


def test_gguf_is_quantized_already(library: Library, hub: HubServer, tmp_path: Path) -> None:
    folder = tmp_path / "ggufs"
    folder.mkdir()
    (folder / "tiny-Q4_K_M.gguf").write_bytes(b"GGUF")
    hub.add_repo("org/tiny", folder)
    with pytest.raises(UnsupportedError, match="GGUF files only") as caught:
        run(library)
    assert caught.value.hint == "localq pull org/tiny:Q4_K_M"
    with pytest.raises(UsageError, match="quantized already"):
        run(library, spec="org/tiny:Q4_K_M")


def test_no_such_model(library: Library, hub: HubServer) -> None:
    with pytest.raises(NotFoundError, match="no model 'org/tiny'"):
        run(library)


def test_only_one_at_a_time(
    library: Library, hub: HubServer, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_repo("org/tiny", checkpoint)
    refused: list[LocalqError] = []

    def meanwhile(event: JobEvent) -> None:
        if isinstance(event, Progress) and not refused:
            with pytest.raises(LocalqError) as caught:
                run(library)
            refused.append(caught.value)

    run(library, emit=meanwhile)
    assert [error.message for error in refused] == ["another localq is making this very file"]


def test_the_small_files_are_kept_for_another_try(
    library: Library, hub: HubServer, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_repo("org/tiny", checkpoint)
    with monkeypatch.context() as patch:
        patch.setattr(making, "require_space", refuse_space)
        with pytest.raises(StorageError):
            run(library)
    small = hub.sent["tokenizer.model"]
    hub.faults.append(Refuse("tokenizer.model", times=9))
    run(library)
    assert hub.sent["tokenizer.model"] == small


def refuse_space(*_: object) -> None:
    raise StorageError("no room")
