"""Models, and the engines that play them."""

from __future__ import annotations

import pytest

from localq.events import JobEvent
from localq.library import Library
from localq.paths import Paths
from localq.services.hosting.prepared import prepare_model
from tests.engine.test_engine import DEMO, make_gguf
from tests.services.hosting.fake_pool import (
    SMALL,
    Fakes,
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Paths of three models that are alike."""
    folder = tmp_path_factory.mktemp("models")
    first = make_gguf(DEMO, folder)
    found = {}
    for name in "abc":
        path = folder / f"{name}.gguf"
        path.write_bytes(first.read_bytes())
        found[name] = str(path)
    return found


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


@pytest.fixture
def events() -> list[JobEvent]:
    return []


@pytest.fixture
def size(home: Paths, models: dict[str, str]) -> int:
    """What one of the models takes."""
    return sum(prepare_model(Library(home), models["a"], SMALL).footprint.values())
