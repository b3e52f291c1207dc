"""Texts that several models read together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localq.engine.client import Engine, LoadSettings
from localq.engine.scoring import score_pieces
from localq.errors import EngineError, UsageError
from localq.formats.types import QuantType
from tests.engine.test_engine import DEMO, make_gguf

TEXT = "Once upon a time, there was a little girl named Lily. She loved to play in the park. " * 2


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("scored")
    return {t.name: make_gguf(DEMO, folder, t) for t in (QuantType.F16, QuantType.Q4_0)}


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine() as engine:
        yield engine


def settings(path: Path, n_batch: int = 32) -> LoadSettings:
    return LoadSettings(path, n_ctx=32, n_batch=n_batch, n_threads=1)


@given(
    n_tokens=st.integers(2, 400),
    share=st.floats(0, 0.99),
    n_batch=st.integers(1, 200),
    rows=st.integers(1, 200),
)
def test_pieces_are_the_text(n_tokens: int, share: float, n_batch: int, rows: int) -> None:
    first = int(share * n_tokens)
    parts = list(score_pieces(n_tokens, first, n_batch, rows))
    assert [0, *(part.stop for part in parts)] == [*(part.start for part in parts), n_tokens]
    assert all(0 < part.stop - part.start <= n_batch for part in parts)
    assert all(part.outputs <= min(rows, part.stop - part.start) for part in parts)
    with_output = [i for p in parts for i in range(p.stop - p.outputs, p.stop)]
    assert with_output == list(range(first, n_tokens))


def test_scores_are_those_of_the_logits(
    engine: Engine, models: dict[str, Path], tmp_path: Path
) -> None:
    """Also where the text is read in small pieces."""
    rows = {}
    for name in ("F16", "Q4_0"):
        engine.load(settings(models[name]))
        tokens = engine.tokenize(TEXT)[:32]
        engine.logits(tokens, tmp_path / "logits")
        logits = np.fromfile(tmp_path / "logits", "<f4").reshape(32, -1).astype(np.float64)
        rows[name] = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    base, other = rows["F16"], rows["Q4_0"]
    places, came = np.arange(16, 31), tokens[17:]
    for n_batch in (32, 7):
        engine.load(settings(models["F16"], n_batch))
        engine.load_beside(settings(models["Q4_0"], n_batch))
        found = engine.score(tokens, 16)
        assert found.models[0].nll == pytest.approx(-base[places, came], abs=2e-3)
        assert found.models[1].nll == pytest.approx(-other[places, came], abs=2e-3)
        kld = (np.exp(base) * (base - other)).sum(axis=1)[16:31]
        assert found.models[1].kld == pytest.approx(kld, abs=2e-3)
        top = base.argmax(axis=1) == other.argmax(axis=1)
        assert list(found.models[1].same_top) == list(top[16:31])


def test_the_model_generates_as_before(engine: Engine, models: dict[str, Path]) -> None:
    from localq.engine.client import SamplingParams

    greedy = SamplingParams(max_tokens=8, temperature=0)
    engine.load(settings(models["F16"]))
    before = engine.generate("Once", greedy, on_text=lambda text: None).text
    engine.load_beside(settings(models["Q4_0"]))
    engine.score(engine.tokenize(TEXT)[:32], 16)
    assert engine.generate("Once", greedy, on_text=lambda text: None).text == before


@pytest.mark.parametrize(("count", "first"), [(33, 16), (1, 0), (8, 7), (8, -1)])
def test_what_cannot_be_scored_is_refused(
    engine: Engine, models: dict[str, Path], count: int, first: int
) -> None:
    engine.load(settings(models["F16"]))
    with pytest.raises(UsageError, match="cannot be scored"):
        engine.score([1] * count, first)
    with pytest.raises(EngineError, match="invalid token"):
        engine.score([1, 2, 10**6], 1)


def test_a_file_that_is_no_model_changes_nothing(
    engine: Engine, models: dict[str, Path], tmp_path: Path
) -> None:
    engine.load(settings(models["F16"]))
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF no model at all")
    with pytest.raises(EngineError, match=r"broken\.gguf: cannot be loaded"):
        engine.load_beside(settings(broken))
    assert len(engine.score(engine.tokenize(TEXT)[:32], 16).models) == 1
