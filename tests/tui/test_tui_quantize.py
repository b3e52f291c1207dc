"""The quantize dialog."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.app import App

from localq.errors import UsageError
from localq.formats.types import QuantType, TensorType
from localq.planning.fit_choice import Where
from localq.quantize.options import TypeRule
from localq.services.fit.fit import FitKind, FitResult, FitRow
from localq.services.make.quantize import QuantizeRequest
from localq.tui.screens.confirm import ConfirmDialog
from localq.tui.screens.quantize import QuantizeDialog, Wanted, request_of
from localq.tui.widgets.ladder import Ladder
from tests.tui_support import (
    Fakes,
    asynchronous,
    checkpoint,
    gguf,
    library,
    notice_text,
    screen_text,
    until,
)


def row(quant: str, size: int, *, where: Where = Where.CPU, **more: Any) -> FitRow:
    values: dict[str, Any] = {
        "exact_size": True,
        "bits_per_weight": 4.5,
        "needs_imatrix": False,
        "gpu_layers": 0,
        "cpu_moe": 0,
        "layers": 31,
        "n_ctx": 8192,
        "memory_bytes": size + 200_000_000,
        "exact_memory": True,
        "room_bytes": 4_000_000_000,
        "recommended": False,
    }
    return FitRow(quant=quant, size_bytes=size, where=where, **{**values, **more})


def ladder() -> FitResult:
    rows = (
        row("IQ2_XS", 50_000_000, needs_imatrix=True),
        row("Q4_0", 91_700_000),
        row("Q4_K_M", 105_000_000, recommended=True),
        row("Q8_0", 144_800_000),
        row("F16", 271_000_000, where=Where.NOWHERE, room_bytes=-3_000_000_000),
    )
    return FitResult(
        kind=FitKind.CHECKPOINT,
        model=checkpoint().name,
        repo=None,
        revision=None,
        architecture="llama",
        parameters=134_515_008,
        trained_ctx=8192,
        licence="",
        total_bytes=272_000_000,
        fetched_bytes=0,
        type_kv="F16",
        rows=rows,
        recommended="Q4_K_M",
        reason="fits, and is quick",
        smaller=None,
        related=(),
        command="",
        warnings=(),
    )


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    return Fakes(tmp_path, [checkpoint(), gguf()], rows=ladder())


async def opened(pilot: Any, app: App[Any]) -> QuantizeDialog:
    await pilot.press("q")
    dialog = app.screen
    assert isinstance(dialog, QuantizeDialog)
    await until(pilot, lambda: bool(dialog.query_one(Ladder).rows))
    return dialog


@asynchronous
async def test_the_ladder_says_what_each_takes(fakes: Fakes) -> None:
    async with fakes.running() as pilot:
        await opened(pilot, pilot.app)
        text = screen_text(pilot.app)
        assert "★ recommended: Q4_K_M · fits, and is quick" in text
        assert "needs an importance matrix (a)" in text
        assert "✗ 3.0 GB too much" in text
        assert "91.7 MB" in text
        assert "✓ in the library" in text
        await pilot.press("enter")
        await until(pilot, lambda: bool(fakes.requests))
        assert pilot.app.screen is library(pilot.app)
    assert fakes.requests == [QuantizeRequest(QuantType.Q4_K_M, model=checkpoint().name)]


@asynchronous
async def test_what_cannot_be_is_not_begun(fakes: Fakes) -> None:
    async with fakes.running() as pilot:
        dialog = await opened(pilot, pilot.app)
        await pilot.press("home", "enter")
        assert notice_text(dialog) == "IQ2_XS: needs an importance matrix (a)"
        await pilot.press("escape")
    assert fakes.requests == []


@asynchronous
async def test_what_is_there_is_made_again_only_on_purpose(fakes: Fakes) -> None:
    async with fakes.running() as pilot:
        await opened(pilot, pilot.app)
        await pilot.press("home", "down", "enter")
        assert isinstance(pilot.app.screen, ConfirmDialog)
        await pilot.press("n")
        assert isinstance(pilot.app.screen, QuantizeDialog)
        await pilot.press("enter", "y")
        await until(pilot, lambda: bool(fakes.requests))
    assert fakes.requests == [QuantizeRequest(QuantType.Q4_0, checkpoint().name, force=True)]


@asynchronous
async def test_advanced(fakes: Fakes) -> None:
    async with fakes.running() as pilot:
        dialog = await opened(pilot, pilot.app)
        await pilot.press("a", "tab", *"attn_v=q9", "enter", "enter")
        await until(pilot, lambda: notice_text(dialog) is not None)
        assert "q9" in (notice_text(dialog) or "")
        await pilot.press("tab", "tab", *"attn_v=q8_0", "tab", *"4G", "enter", "enter")
        await until(pilot, lambda: bool(fakes.requests))
    (request,) = fakes.requests
    assert isinstance(request, QuantizeRequest)
    assert request.rules == (TypeRule("attn_v", TensorType.Q8_0),)
    assert request.split_bytes == 4 * 10**9


@asynchronous
async def test_a_model_that_cannot_be_read(fakes: Fakes) -> None:
    fakes.rows = None
    async with fakes.running() as pilot:
        await pilot.press("q")
        await until(pilot, lambda: "nothing is known of it" in screen_text(pilot.app))


def test_what_was_typed_becomes_a_request() -> None:
    made = request_of(Wanted("org/model", "q4_k_m", imatrix="/x.dat", split="500M"))
    assert made == QuantizeRequest(
        QuantType.Q4_K_M, "org/model", imatrix=Path("/x.dat"), split_bytes=500_000_000
    )
    with pytest.raises(UsageError):
        request_of(Wanted("org/model", "q4_k_m", split="much"))
