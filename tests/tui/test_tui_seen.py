"""What the Hub, the machine, the settings and the dialogs look like, with their errors shown; and
that what must be read can be read, at each size, in both languages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from localq.errors import LocalqError, NotFoundError
from localq.formats.types import QuantType
from localq.hardware.profile import (
    CpuProfile,
    Device,
    HardwareProfile,
    Memory,
    System,
)
from localq.hub.search import FoundModel
from localq.messages import msg, translate
from localq.paths import Paths
from localq.planning.estimate import DeviceMemory, MemoryEstimate
from localq.planning.measurements import (
    Benchmark,
    Setting,
    SpeedTest,
    Subject,
    Tuning,
    TuningPoint,
)
from localq.planning.model_shape import ModelShape
from localq.planning.offload_plan import DeviceBudget, OffloadPlan, PlanOptions
from localq.services.machine.plan import PlannedModel
from localq.services.pull.pull import Choice
from localq.settings import Settings, write_settings
from localq.tui.services.machine import Loading
from tests.tui.test_tui_quantize import ladder
from tests.tui.test_tui_snapshots import CELLS, Cell, matches_snapshot
from tests.tui_support import (
    NOW,
    Fakes,
    asynchronous,
    checkpoint,
    gguf,
    notice_text,
    screen_text,
    until,
)

_GB = 1_000_000_000
_QWEN = "Qwen/Qwen2.5-7B-Instruct"


def found(repo: str, parameters: str, licence: str, *, gated: bool = False) -> FoundModel:
    return FoundModel(
        repo=repo,
        parameters=None,
        size_class=parameters,
        licence=licence,
        downloads=1_234_567,
        likes=321,
        gated=gated,
        updated="2026-08-01",
        gguf=repo.endswith("GGUF"),
    )


def machine() -> HardwareProfile:
    card = Device("CUDA0", "NVIDIA GeForce RTX 3060", "CUDA", "gpu", 12 * _GB, 11 * _GB)
    return HardwareProfile(
        System("linux", release="6.1.0"),
        CpuProfile(8, 8, model="AMD Ryzen 7 5800X", physical_cores=8),
        Memory(32 * _GB, 24 * _GB),
        (card,),
    )


def loading() -> Loading:
    """A model of 32 layers and an output, of which most are on a device."""
    model = gguf("Qwen/Qwen2.5-7B-Instruct", QuantType.Q4_K_M, size=4_700_000_000)
    shape = ModelShape(
        architecture="qwen2",
        n_ctx_train=32768,
        n_embd=4096,
        n_vocab=152064,
        layers=(),
        kinds=(),
        unused_layers=0,
        input_bytes=0,
        output_bytes=0,
        tied=False,
        other_bytes=0,
        n_embd_layers=0,
        tied_twice=False,
        vocabulary_bytes=0,
        causal=True,
        window=0,
        parameters=7_615_616_512,
        approximate=False,
    )
    devices = (
        DeviceMemory("host", 1_200_000_000, 200_000_000, 90_000_000, 60_000_000),
        DeviceMemory("CUDA0", 3_500_000_000, 800_000_000, 300_000_000),
    )
    plan = OffloadPlan(
        n_threads=8,
        n_threads_batch=8,
        n_gpu_layers=25,
        tensor_split=None,
        n_cpu_moe=0,
        n_ctx=16384,
        type_k="f16",
        type_v="f16",
        n_batch=2048,
        n_ubatch=512,
        use_mmap=True,
        use_mlock=False,
        flash_attn="auto",
        estimate=MemoryEstimate(devices),
        budgets=(
            DeviceBudget("host", 24 * _GB, _GB),
            DeviceBudget("CUDA0", 5_500_000_000, 500_000_000),
        ),
        n_layers=33,
        reasons=("layers: 25 of 33 fit on CUDA0",),
        n_draft=0,
    )
    points = (
        TuningPoint("n_threads", 4, 21.5),
        TuningPoint("n_threads", 6, 27.25),
        TuningPoint("n_threads", 8, 26.0),
    )
    setting = Setting(8, 8, 25, 16384, 2048, 512, "f16", "f16", flash_attn=True)
    runs = tuple(
        Benchmark(
            measured_at=NOW - days * 86400.0,
            model=model.name,
            subject=Subject("shape", "Q4_K_M", "machine", "engine"),
            machine_name="AMD Ryzen 7 5800X",
            setting=setting,
            load_seconds=2.0,
            first_token_seconds=0.4,
            memory_bytes=6 * _GB,
            resident_bytes=None,
            tests=(
                SpeedTest("pp512", (640.0,), 640.0, 4.0),
                SpeedTest("tg128", (speed,), speed, 0.3),
            ),
        )
        for days, speed in ((1, 27.25), (9, 22.5))
    )
    return Loading(
        model.name,
        PlannedModel(model, shape, plan, PlanOptions(), PlanOptions()),
        Tuning(NOW, 6, 8, None, 25, points),
        runs,
    )


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    return Fakes(
        tmp_path,
        [
            checkpoint(),
            gguf(),
            gguf("Qwen/Qwen2.5-7B-Instruct", QuantType.Q4_K_M, size=4 * _GB, used=60.0),
        ],
        offered=[
            Choice("HuggingFaceTB/SmolLM2-1.7B", 1_711_376_384, 3_422_000_000, "fits in 7 GB", True)
        ],
        rows=ladder(),
        found=(
            found("Qwen/Qwen2.5-7B-Instruct", "7.6B", "apache-2.0"),
            found("meta-llama/Llama-3.1-8B-Instruct", "8B", "llama3.1", gated=True),
            found("bartowski/Qwen2.5-7B-Instruct-GGUF", "7.6B", "apache-2.0"),
        ),
        loaded=loading(),
        machine=machine(),
    )


GATED = LocalqError(
    msg("{repo} is gated: its owners want to know who uses it", repo="meta-llama/Llama-3.1-8B"),
    hint=msg("ask for access at {url}", url="https://huggingface.co/meta-llama/Llama-3.1-8B"),
)


def visible(app_text: str, *words: str) -> None:
    """Every one of these can be read, whatever the lines of a pane were broken at."""
    lines = app_text.splitlines()
    panes = ["".join(line.partition("││")[side] for line in lines) for side in (0, 2)]
    flat = ["".join(text.split()).replace("│", "").replace("▌", "") for text in panes]
    for word in words:
        wanted = "".join(word.split())
        assert any(wanted in text for text in flat), f"{word!r} cannot be read in\n{app_text}"


def begun(cell: Cell, fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALQ_LANG", cell.language)
    write_settings(fakes.paths, Settings(theme=cell.theme))


@CELLS
@asynchronous
async def test_hub(fakes: Fakes, cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(cell, fakes, monkeypatch)
    async with fakes.running(cell.size) as pilot:
        await pilot.press("2", *"qwen")
        await until(pilot, lambda: "bartowski/" in screen_text(pilot.app))
        visible(screen_text(pilot.app), "Qwen/Qwen2.5-7B-Instruct", "7.6B", "8B")
        await matches_snapshot(pilot, cell.name("hub"))
        await pilot.press("down", "enter")
        await until(pilot, lambda: "Q8_0" in screen_text(pilot.app))
        visible(screen_text(pilot.app), "★", "Q4_K_M", "91.7 MB", "✗")
        await matches_snapshot(pilot, cell.name("repository"))
        fakes.hub_error = GATED
        await pilot.press("escape", "down", "enter")
        await until(pilot, lambda: "▌" in screen_text(pilot.app))
        visible(screen_text(pilot.app), translate(GATED.message), translate(GATED.hint or ""))
        await matches_snapshot(pilot, cell.name("gated"))


@CELLS
@asynchronous
async def test_machine_and_settings(
    fakes: Fakes, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(cell, fakes, monkeypatch)
    async with fakes.running(cell.size) as pilot:
        app = pilot.app
        await pilot.press("4")
        await until(pilot, lambda: "16,384" in screen_text(app))
        await until(pilot, lambda: "RTX 3060" in screen_text(app))
        visible(screen_text(app), "AMD Ryzen 7 5800X", "CUDA0", "3.5 GB")
        await matches_snapshot(pilot, cell.name("machine"))
        shown = Paths.from_environment({"LOCALQ_HOME": "/home/ada/localq"})
        services = replace(app.context.services, paths=shown)  # type: ignore[attr-defined]
        app.context = replace(app.context, services=services)  # type: ignore[attr-defined]
        await pilot.press("5")
        await until(pilot, lambda: "huggingface.co" in screen_text(app))
        visible(screen_text(app), "/home/ada/localq/data", "https://huggingface.co")
        await matches_snapshot(pilot, cell.name("settings"))


@CELLS
@asynchronous
async def test_dialogs(fakes: Fakes, cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(cell, fakes, monkeypatch)
    async with fakes.running(cell.size) as pilot:
        app = pilot.app
        await until(pilot, lambda: "✓ 4.0 GB" in screen_text(app))
        await pilot.press("q")
        await until(pilot, lambda: "IQ2_XS" in screen_text(app))
        await pilot.press("a", "tab", *"attn_v=q77", "enter", "home", "down", "enter")
        await until(pilot, lambda: "▌" in screen_text(app))
        refused = notice_text(app.screen) or ""
        assert "q77" in refused
        visible(screen_text(app), *refused.split("\n"), "Q4_0")
        await matches_snapshot(pilot, cell.name("quantize-refused"))
        await pilot.press("escape", "p")
        await until(pilot, lambda: "SmolLM2-1.7B" in screen_text(app))
        await pilot.press(*"a/b/c d", "enter")
        await until(pilot, lambda: "▌" in screen_text(app))
        visible(screen_text(app), "a/b/c d", "SmolLM2-1.7B")
        await matches_snapshot(pilot, cell.name("pull-refused"))
        await pilot.press("escape", "d")
        await until(pilot, lambda: "(y)" in screen_text(app))
        await matches_snapshot(pilot, cell.name("remove"))
        await pilot.press("escape", "a", *"x y/z", "enter")
        await until(pilot, lambda: "▌" in screen_text(app))
        await matches_snapshot(pilot, cell.name("alias-refused"))
        hint = msg("localq list shows the models here, localq pull gets others")
        fakes.remove_error = NotFoundError(msg("nothing is known of it"), hint=hint)
        await pilot.press("escape", "d", "y")
        await until(pilot, lambda: "→ 1 (" in screen_text(app))
        visible(screen_text(app), "nothing is known of it")
        await matches_snapshot(pilot, cell.name("remove-refused"))
