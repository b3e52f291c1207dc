"""A server for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from localq.server.settings import Limits, ServerSettings
from tests.server.serving import Server, serving, story_model


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    limits = Limits(parallel=8, queue=64, body_bytes=1 << 20, header_seconds=0.5, body_seconds=1.0)
    settings = ServerSettings(limits=limits, allow_origins=("https://friend.example",))
    with serving(folder, story_model(folder), settings=settings) as started:
        yield started
