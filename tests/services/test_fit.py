"""`localq fit`: what is said of a model before it is there, against a Hub on the loopback
interface."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from localq.cli.fit import show
from localq.cli.main import main
from localq.errors import (
    BadFileError,
    Cancelled,
    HubError,
    NotFoundError,
    OfflineError,
    UnsupportedError,
    UsageError,
)
from localq.events import Note, ignore
from localq.formats.types import QuantType, TensorType
from localq.hardware.profile import CpuProfile, Device, HardwareProfile, Memory, System
from localq.hub.backoff import RetryPolicy
from localq.hub.source import Digest, DigestKind, RemoteFile
from localq.library import Library
from localq.paths import Paths
from localq.planning.fit_shape import scaled_shape
from localq.services.fit.fit import FitKind, FitRequest, FitResult, FitRow, Where, fit
from localq.services.fit.rows import rows_and_advice
from localq.services.fit.source import DescribedModel, known_here
from localq.services.library.locate import locate
from localq.services.make.quantize import QuantizeRequest, quantize
from localq.services.pull.pull import PullRequest, pull
from localq.services.pull.related_repositories import quant_sizes
from tests.checkpoints import LLAMA2_CONFIG, write_llama_checkpoint
from tests.families import write_family
from tests.hub_server import HubServer, Refuse, closed_port_url
from tests.streams import DEMO, HEADER_BYTES, demo_in_shards, run, weights_sent

Capture = pytest.CaptureFixture[str]
GIB = 1 << 30
QUANTS = ("Q4_0", "Q4_K_M", "Q8_0")


def machine(*, ram: int = 16 * GIB, gpu: int = 0, shared: bool = False) -> HardwareProfile:
    """A machine with so much free memory, and perhaps a GPU, which may use the same."""
    devices = (Device("GPU0", "a GPU", "CUDA", "gpu", gpu, gpu, shared),) if gpu else ()
    memory = Memory(ram, ram)
    return HardwareProfile(System("linux"), CpuProfile(4, 4), memory, devices)


def library_in(home: Path) -> Library:
    return Library(Paths(home / "data", home / "config", home / "cache", home / "log"))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = demo_in_shards(tmp_path / "tiny")
    (folder / "README.md").write_text("---\nlicense: mit\n---\nA model.\n")
    return folder


@pytest.fixture(scope="session")
def ready_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository's folder with GGUF files of the demo."""
    folder = tmp_path_factory.mktemp("ready")
    library = library_in(folder / "home")
    (folder / "repo").mkdir()
    for quant in QUANTS:
        target = folder / "repo" / f"tiny-{quant}.gguf"
        request = QuantizeRequest(QuantType[quant], str(DEMO), target)
        quantize(library, request, ignore, threading.Event())
    (folder / "repo" / "mmproj-F16.gguf").write_bytes(b"GGUF")
    return folder / "repo"


def ask(
    library: Library,
    model: str = "org/tiny",
    *,
    profile: HardwareProfile | None = None,
    n_ctx: int | None = None,
    type_kv: TensorType = TensorType.F16,
    every: bool = False,
    related: bool = False,
    cancel: threading.Event | None = None,
) -> FitResult:
    return fit(
        library,
        FitRequest(model, n_ctx, type_kv, every, related),
        ignore,
        cancel or threading.Event(),
        profile=profile or machine(),
        policy=RetryPolicy(retries=1, first_delay=0.01),
    )


def by_quant(result: FitResult) -> dict[str, FitRow]:
    return {row.quant: row for row in result.rows}


def test_a_checkpoint_from_its_headers(library: Library, hub: HubServer, checkpoint: Path) -> None:
    repo = hub.add_repo("org/tiny", checkpoint)
    result = ask(library)
    assert (result.kind, result.model, result.repo) == (FitKind.CHECKPOINT, "org/tiny", "org/tiny")
    assert result.revision == repo.commit
    assert (result.architecture, result.licence, result.trained_ctx) == ("llama", "mit", 512)
    assert result.parameters == 260032
    assert result.fetched_bytes == hub.sent.total()
    assert weights_sent(hub) <= 3 * HEADER_BYTES
    assert result.total_bytes == sum(
        path.stat().st_size for path in checkpoint.iterdir() if path.name != "SOURCE.txt"
    )
    assert [row.size_bytes for row in result.rows] == sorted(r.size_bytes for r in result.rows)
    assert [row.quant for row in result.rows if row.recommended] == [result.recommended]
    assert result.recommended == "Q8_0"
    assert result.command == "localq pull org/tiny --as q8_0"
    assert library.models() == []


def test_the_size_of_what_is_pulled_later(
    library: Library, hub: HubServer, checkpoint: Path
) -> None:
    hub.add_repo("org/tiny", checkpoint)
    rows = by_quant(ask(library, every=True))
    fetched = dict(hub.sent)
    for quant in ("Q4_0", "Q4_K_M", "Q6_K", "F16"):
        made = run(library, QuantType[quant])
        assert made.model.path.stat().st_size == rows[quant].size_bytes
        if quant == "Q4_0":  # the first found the small files that fit had brought
            assert hub.sent["tokenizer.model"] == fetched["tokenizer.model"]
    assert rows["F16"].exact_size


def test_a_mixture_of_experts_pulled_later(
    library: Library, hub: HubServer, material: Path, tmp_path: Path
) -> None:
    folder = write_family(tmp_path / "tiny", "mixtral-tiny", material)
    hub.add_repo("org/tiny", folder)
    rows = by_quant(ask(library))
    for quant in ("Q2_K", "Q4_K_M"):
        made = run(library, QuantType[quant])
        assert made.model.path.stat().st_size == rows[quant].size_bytes


def test_a_revision(library: Library, hub: HubServer, checkpoint: Path) -> None:
    hub.add_repo("org/tiny", checkpoint, branch="next")
    result = ask(library, "org/tiny@next")
    assert result.command == "localq pull org/tiny@next --as q8_0"
    with pytest.raises(NotFoundError, match="no revision 'nowhere'"):
        ask(library, "org/tiny@nowhere")


def test_what_is_on_this_disk(
    library: Library, hub: HubServer, checkpoint: Path, home: Paths
) -> None:
    hub.add_repo("org/tiny", checkpoint)
    expected = by_quant(ask(library))
    pull(library, PullRequest("org/tiny"), ignore, threading.Event())
    asked = len(hub.requests)
    held = ask(library)
    assert held.repo is None
    assert {q: row.size_bytes for q, row in by_quant(held).items()} == {
        q: row.size_bytes for q, row in expected.items()
    }
    assert held.command == "localq quantize q8_0 org/tiny"
    assert held.fetched_bytes == 0
    on_path = ask(library, str(checkpoint))
    assert by_quant(on_path)["Q4_0"].size_bytes == expected["Q4_0"].size_bytes
    assert on_path.command == f"localq quantize q8_0 {checkpoint}"
    request = QuantizeRequest(QuantType.Q4_0, "org/tiny")
    made = quantize(library, request, ignore, threading.Event())
    gguf = ask(library, "tiny:q4_0")
    assert gguf.kind is FitKind.GGUF
    assert [(row.quant, row.size_bytes) for row in gguf.rows] == [("Q4_0", made.size_bytes)]
    assert gguf.command == "localq run org/tiny:Q4_0"
    assert ask(library, str(made.path)).rows[0].size_bytes == made.size_bytes
    assert len(hub.requests) == asked


def test_a_lossless_gguf_can_become_others(library: Library, home: Paths, tmp_path: Path) -> None:
    source = tmp_path / "tiny-F16.gguf"
    for type_, model, target in (
        (QuantType.F16, str(DEMO), source),
        (QuantType.Q4_K_M, str(source), tmp_path / "tiny-Q4_K_M.gguf"),
    ):
        request = QuantizeRequest(type_, model, target)
        quantize(library, request, ignore, threading.Event())
    rows = by_quant(ask(library, str(source)))
    assert rows["Q4_K_M"].size_bytes == (tmp_path / "tiny-Q4_K_M.gguf").stat().st_size


def test_a_repository_of_files(library: Library, hub: HubServer, ready_made: Path) -> None:
    hub.add_repo("org/tiny-GGUF", ready_made)
    result = ask(library, "org/tiny-GGUF")
    assert result.kind is FitKind.GGUF_REPO
    assert {row.quant: row.size_bytes for row in result.rows} == {
        quant: (ready_made / f"tiny-{quant}.gguf").stat().st_size for quant in QUANTS
    }
    assert [row.quant for row in result.rows if row.exact_memory] == ["Q4_K_M"]
    assert result.recommended == "Q8_0"
    assert result.command == "localq pull org/tiny-GGUF:Q8_0"
    assert [path for path in hub.sent if path.endswith(".gguf")] == ["tiny-Q4_K_M.gguf"]
    one = ask(library, "org/tiny-GGUF:q4_0")
    assert [(row.quant, row.exact_memory) for row in one.rows] == [("Q4_0", True)]
    assert one.command == "localq pull org/tiny-GGUF:Q4_0"
    named = ask(library, "org/tiny-GGUF:tiny-Q8_0.gguf")
    assert [row.quant for row in named.rows] == ["Q8_0"]
    with pytest.raises(NotFoundError, match="no GGUF file for Q6_K"):
        ask(library, "org/tiny-GGUF:Q6_K")


def test_estimates_from_another_file(library: Library, hub: HubServer, ready_made: Path) -> None:
    hub.add_repo("org/tiny-GGUF", ready_made)
    estimated = by_quant(ask(library, "org/tiny-GGUF"))
    for quant in QUANTS:
        own = ask(library, f"org/tiny-GGUF:{quant}").rows[0]
        assert estimated[quant].memory_bytes == pytest.approx(own.memory_bytes, rel=0.02)


def test_related_repositories(
    library: Library, hub: HubServer, checkpoint: Path, ready_made: Path
) -> None:
    hub.add_repo("org/tiny", checkpoint)
    hub.add_repo("bartowski/org_tiny-GGUF", ready_made)
    hub.add_repo("unsloth/tiny-GGUF", checkpoint)  # has none
    hub.add_repo("ggml-org/tiny-GGUF", ready_made)
    hub.faults.append(Refuse("ggml-org/tiny-GGUF/revision/main", status=503, times=9))
    (related,) = ask(library, related=True).related
    assert related.repo == "bartowski/org_tiny-GGUF"
    assert tuple(related.quants) == QUANTS
    assert (related.quant, related.command) == ("Q8_0", "localq pull bartowski/org_tiny-GGUF:Q8_0")
    assert related.size_bytes == (ready_made / "tiny-Q8_0.gguf").stat().st_size
    asked = len(hub.requests)
    assert ask(library).related == ()
    assert not [r for r in hub.requests[asked:] if "org/tiny/" not in f"{r.path}/"]


def test_a_related_repository_instead_of_what_cannot_be_read(
    library: Library, hub: HubServer, checkpoint: Path, ready_made: Path
) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    config["architectures"] = ["UnheardOfForCausalLM"]
    (checkpoint / "config.json").write_text(json.dumps(config))
    hub.add_repo("org/tiny", checkpoint)
    with pytest.raises(UnsupportedError) as alone:
        ask(library, related=True)
    hub.add_repo("unsloth/tiny-GGUF", ready_made)
    with pytest.raises(UnsupportedError) as error:
        ask(library, related=True)
    assert error.value.message == alone.value.message
    assert error.value.hint is not None
    assert error.value.hint.endswith("localq fit unsloth/tiny-GGUF")


def test_files_beside_the_checkpoint(
    library: Library, hub: HubServer, checkpoint: Path, ready_made: Path
) -> None:
    shutil.copy(ready_made / "tiny-Q8_0.gguf", checkpoint)
    hub.add_repo("org/tiny", checkpoint)
    result = ask(library, related=True)
    assert result.kind is FitKind.CHECKPOINT
    (own,) = result.related
    assert (own.repo, list(own.quants)) == ("org/tiny", ["Q8_0"])
    assert own.command == "localq pull org/tiny:Q8_0"


def test_a_repository_with_no_end_of_names() -> None:
    digest = Digest(DigestKind.SHA256, "0" * 64)
    files = [RemoteFile(f"tiny-q4_{number}.gguf", 1, digest) for number in range(100_000)]
    assert len(quant_sizes("org/tiny-GGUF", files)) == 100


def test_where_it_runs(library: Library, hub: HubServer, checkpoint: Path) -> None:
    hub.add_repo("org/tiny", checkpoint)
    whole = by_quant(ask(library, profile=machine(gpu=GIB)))["Q4_0"]
    assert whole.where is Where.GPU
    assert whole.gpu_layers == whole.layers == 6
    assert whole.room_bytes is not None
    assert 0 < whole.room_bytes < GIB
    processor = ask(library, n_ctx=256)
    assert {row.where for row in processor.rows} == {Where.CPU}
    assert {row.n_ctx for row in processor.rows} == {256}
    nowhere = ask(library, profile=machine(ram=4 << 20))
    assert {row.where for row in nowhere.rows} == {Where.NOWHERE}
    assert all(row.room_bytes is not None and row.room_bytes < 0 for row in nowhere.rows)
    assert (nowhere.recommended, nowhere.smaller) == (None, None)
    assert nowhere.command == "localq pull"


def test_partly_on_the_gpu(eight_billion: DescribedModel, capsys: Capture) -> None:
    profile = machine(ram=32 * GIB, gpu=5 * GIB)
    result = rows_and_advice(eight_billion, profile, (), n_ctx=None, type_kv=TensorType.F16)
    rows = by_quant(result)
    assert rows["Q2_K"].where is Where.GPU
    split = rows["Q4_K_M"]
    assert split.where is Where.SPLIT
    assert 0 < split.gpu_layers < split.layers
    assert result.recommended == "Q4_K_M"
    assert result.reason.endswith("fits the GPU whole, and is faster")
    show(result)
    said = capsys.readouterr().out
    assert f"GPU+CPU {split.gpu_layers}/{split.layers}:" in said


def test_the_context_costs_memory(library: Library, home: Paths) -> None:
    def memory(n_ctx: int, type_kv: TensorType = TensorType.F16) -> int:
        result = ask(library, str(DEMO), n_ctx=n_ctx, type_kv=type_kv)
        return by_quant(result)["Q4_0"].memory_bytes

    assert memory(256) < memory(4096) < memory(65536)
    assert memory(65536) < memory(65536, TensorType.F32)


def test_a_context_that_cannot_be_kept_so(library: Library, home: Paths) -> None:
    with pytest.raises(UnsupportedError, match="heads of a multiple of 32") as error:
        ask(library, str(DEMO), type_kv=TensorType.Q8_0)
    assert error.value.hint == "leave out --kv"


@pytest.fixture(scope="session")
def eight_billion(tmp_path_factory: pytest.TempPathFactory) -> DescribedModel:
    """A small model, as if its weights were those of one of 8 billion."""
    folder = tmp_path_factory.mktemp("llama")
    config = {**LLAMA2_CONFIG, "hidden_size": 256, "intermediate_size": 512, "vocab_size": 512}
    write_llama_checkpoint(folder / "tiny", config=config, tokenizer_from=DEMO)
    known = known_here(locate(library_in(folder / "home"), str(folder / "tiny")), every=False)
    times = 8 * 10**9 // known.parameters
    offers = tuple(
        replace(
            offer,
            size_bytes=offer.size_bytes * times,
            shape=scaled_shape(offer.shape, times, 1),
        )
        for offer in known.offers
    )
    return replace(known, parameters=known.parameters * times, offers=offers)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 64 * GIB),
    st.integers(0, 32 * GIB),
    st.integers(0, 32 * GIB),
    st.integers(0, 32 * GIB),
    st.booleans(),
)
@example(ram=4_348_933_085, gpu=1, more_ram=0, more_gpu=1_868_917_417, shared=True)
def test_more_memory_never_recommends_less(
    eight_billion: DescribedModel, ram: int, gpu: int, more_ram: int, more_gpu: int, shared: bool
) -> None:
    if shared and gpu == 0:
        more_gpu = 0  # a GPU that was not there takes of the memory that was

    def recommended(ram: int, gpu: int) -> FitRow | None:
        found = machine(ram=ram, gpu=gpu, shared=shared)
        result = rows_and_advice(eight_billion, found, (), n_ctx=None, type_kv=TensorType.F16)
        return next((row for row in result.rows if row.recommended), None)

    before, after = recommended(ram, gpu), recommended(ram + more_ram, gpu + more_gpu)
    if before is None:
        return
    assert after is not None
    assert after.size_bytes >= before.size_bytes
    assert after.where is not Where.NOWHERE
    assert after.room_bytes is not None
    assert after.room_bytes >= 0
    assert after.memory_bytes <= ram + more_ram + gpu + more_gpu


def test_the_context_may_be_what_is_too_much(
    eight_billion: DescribedModel, capsys: Capture
) -> None:
    def on(ram: int, n_ctx: int | None) -> FitResult:
        return rows_and_advice(
            eight_billion, machine(ram=ram), (), n_ctx=n_ctx, type_kv=TensorType.F16
        )

    usual = on(8 * GIB, None)
    result = on(8 * GIB, 50_000_000)
    assert result.recommended is None
    assert result.smaller is None
    n_ctx = usual.rows[0].n_ctx
    assert f"{usual.recommended} would with {n_ctx:,} tokens" in result.reason
    assert result.command.endswith(f" --ctx {n_ctx}")
    assert on(8 * GIB, n_ctx).recommended is not None
    show(result)
    assert "would fit as Q4_K_M" not in capsys.readouterr().out
    assert on(2 * GIB, 50_000_000).command == "localq pull"


def test_a_gpu_that_shares_the_memory(eight_billion: DescribedModel) -> None:
    def best(found: HardwareProfile) -> FitRow:
        result = rows_and_advice(eight_billion, found, (), n_ctx=None, type_kv=TensorType.F16)
        return next(row for row in result.rows if row.recommended)

    own = best(machine(ram=24 * GIB, gpu=16 * GIB))
    shared = best(machine(ram=24 * GIB, gpu=16 * GIB, shared=True))
    assert (own.quant, own.where, shared.where) == ("Q8_0", Where.GPU, Where.GPU)
    assert shared.size_bytes < own.size_bytes


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"n_ctx": 0}, "from 1 to"), ({"type_kv": TensorType.Q4_K}, "cannot be kept as 'Q4_K'")],
)
def test_nonsense_is_refused(
    library: Library, changes: dict[str, int | TensorType], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        ask(library, str(DEMO), **changes)  # type: ignore[arg-type]


def test_faults_of_the_hub(
    library: Library, hub: HubServer, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFoundError, match="no model 'org/tiny'"):
        ask(library, related=True)
    asked = len(hub.requests)
    assert asked == 1  # no related one is looked for where there is no model
    repo = hub.add_repo("org/tiny", checkpoint)
    repo.gated_for = "a token"
    with pytest.raises(HubError, match="is gated"):
        ask(library)
    repo.gated_for = None
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Cancelled):
        ask(library, cancel=stopped)
    monkeypatch.setenv("HF_ENDPOINT", closed_port_url())
    with pytest.raises(OfflineError):
        ask(library)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OfflineError):
        ask(library)


def test_a_header_that_lies(library: Library, hub: HubServer, checkpoint: Path) -> None:
    shard = next(checkpoint.glob("*.safetensors"))
    shard.write_bytes((1 << 60).to_bytes(8, "little") + shard.read_bytes()[8:])
    hub.add_repo("org/tiny", checkpoint)
    with pytest.raises(BadFileError, match=shard.name):
        ask(library)


@pytest.mark.parametrize("text", ["tiny", "./nowhere", "org/tiny.gguf"])
def test_nothing_of_that_name(library: Library, home: Paths, text: str) -> None:
    with pytest.raises(NotFoundError):
        ask(library, text)


def test_a_repository_under_a_new_name(library: Library, hub: HubServer, checkpoint: Path) -> None:
    hub.add_repo("org/tiny", checkpoint)
    hub.renamed["old/tiny"] = "org/tiny"
    events: list[object] = []
    request = FitRequest("old/tiny", related=False)
    result = fit(library, request, events.append, threading.Event(), profile=machine())
    assert result.model == "org/tiny"
    assert Note("old/tiny is now called org/tiny") in events


def test_the_command(hub: HubServer, checkpoint: Path, ready_made: Path, capsys: Capture) -> None:
    hub.add_repo("org/tiny", checkpoint)
    hub.add_repo("unsloth/tiny-GGUF", ready_made)
    assert main(["fit", "org/tiny"]) == 0
    said = capsys.readouterr()
    assert "llama, 260K parameters" in said.out
    assert "unsloth/tiny-GGUF:" in said.out
    assert said.err.splitlines()[-1].startswith("next: localq pull org/tiny --as ")
    assert main(["fit", "org/tiny", "--json", "--all", "--ctx", "128", "--kv", "bf16"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {field.name for field in fields(FitResult)} - {"related"} | {"sisters"}
    assert set(told["rows"][0]) == {field.name for field in fields(FitRow)}
    assert len(told["rows"]) > 20
    assert {row["n_ctx"] for row in told["rows"]} == {128}
    assert told["type_kv"] == "BF16"


def test_hostile_words_do_not_drive_the_terminal(
    hub: HubServer, checkpoint: Path, capsys: Capture
) -> None:
    (checkpoint / "README.md").write_text('---\nlicense: "m\\e[31mit"\n---\n')
    hub.add_repo("org/tiny", checkpoint)
    assert main(["fit", "org/tiny", "--no-sisters"]) == 0
    assert "\x1b[31m" not in capsys.readouterr().out
