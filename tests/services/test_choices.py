"""Which of the known models a machine is offered, and which one to begin with."""

from __future__ import annotations

import threading
from pathlib import Path

from localq.convert import open_checkpoint
from localq.recipes import KnownModel, Role
from localq.services.pull.choice_sizes import with_sizes
from localq.services.pull.choices import models_that_fit
from tests.families import write_family
from tests.hub_server import HubServer

GB = 1_000_000_000


def known(gb: int, role: Role, *, offered: bool = True) -> KnownModel:
    repo = f"o/{role}-{gb}"
    return KnownModel(
        *(repo, repo, "LlamaForCausalLM", "mit", 2048, ("en",), offered, gb, role, "it is good")
    )


MODELS = [
    *(known(gb, role) for gb in (8, 16, 32) for role in Role),
    known(8, Role.GENERAL, offered=False),
]


def fit(total: int | None, available: int | None) -> list[str]:
    found = models_that_fit(MODELS, total_memory=total, available_memory=available)
    assert [choice.recommended for choice in found] == [True, *[False] * (len(found) - 1)]
    assert all(choice.why for choice in found)
    return [choice.repo.removeprefix("o/") for choice in found]


def test_what_is_soon_there_comes_first_then_what_the_machine_can() -> None:
    assert fit(34 * GB, 30 * GB)[:3] == ["general-8", "general-32", "chinese-32"]
    assert len(fit(34 * GB, 30 * GB)) == 12
    assert fit(16 * GB, 12 * GB)[:3] == ["general-8", "general-16", "chinese-16"]
    assert fit(8 * GB, 6 * GB) == ["general-8", "chinese-8", "coding-8", "small-8"]


def test_a_machine_that_other_programs_fill_is_offered_less() -> None:
    assert fit(34 * GB, 3 * GB) == ["general-8", "chinese-8", "coding-8", "small-8"]


def test_a_small_machine_gets_the_small_one() -> None:
    assert fit(4 * GB, 3 * GB) == ["small-8"]


def test_unknown_memory_rules_nothing_out_and_begins_small() -> None:
    assert fit(None, None)[0] == "small-8"
    assert len(fit(None, None)) == 12


def test_where_nothing_is_offered_nothing_fits() -> None:
    assert models_that_fit(MODELS[-1:], total_memory=None, available_memory=None) == []


def test_sizes_are_what_the_headers_say(hub: HubServer, tmp_path: Path, material: Path) -> None:
    folder = write_family(tmp_path / "tiny", "smollm3-tiny", material)
    hub.add_repo("o/general-8", folder)
    found = models_that_fit(MODELS, total_memory=8 * GB, available_memory=6 * GB)
    sized = with_sizes(found, seconds=20)
    assert sized[0].parameters == open_checkpoint(folder).parameters
    assert sized[0].download_bytes == sum(file.stat().st_size for file in folder.iterdir())
    assert sized[1:] == found[1:]  # which the Hub does not have


def test_a_hub_that_does_not_answer_costs_the_list_no_more_than_its_time() -> None:
    found = models_that_fit(MODELS, total_memory=8 * GB, available_memory=6 * GB)
    let_go = threading.Event()

    def ask(repo: str, cancel: threading.Event) -> tuple[int, int]:
        if repo != found[2].repo:
            let_go.wait()
        return 5, 7

    try:
        sized = with_sizes(found, seconds=0.2, size_of=ask)
    finally:
        let_go.set()
    assert [choice.parameters for choice in sized] == [None, None, 5, None]
    assert with_sizes([]) == []
