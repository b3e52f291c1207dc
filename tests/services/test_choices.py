"""Which of the known models a machine is offered, and which one to begin with."""

from __future__ import annotations

from localq.planning.comfort import memory_of, parameters_in
from localq.recipes import KnownModel
from localq.services.pull.choices import models_that_fit

GB = 1_000_000_000


def known(repo: str, parameters: int) -> KnownModel:
    return KnownModel(repo, repo, parameters, 2 * parameters, "mit", 2048, ("en",))


MODELS = [known("o/tiny", GB // 5), known("o/small", 2 * GB), known("o/large", 10 * GB)]
"""Downloads of 0.4, 4 and 20 GB."""


def fit(total: int | None, available: int | None, disk: int = 10**15) -> list[tuple[str, bool]]:
    found = models_that_fit(MODELS, total_memory=total, available_memory=available, free_disk=disk)
    assert all(choice.why for choice in found if choice.recommended)
    return [(choice.repo, choice.recommended) for choice in found]


def test_the_largest_comfortable_model_that_downloads_soon_comes_first() -> None:
    assert fit(64 * GB, 60 * GB) == [("o/small", True), ("o/large", False), ("o/tiny", False)]
    assert fit(16 * GB, 12 * GB) == [("o/small", True), ("o/large", False), ("o/tiny", False)]
    assert fit(8 * GB, 4 * GB) == [("o/tiny", True), ("o/small", False)]


def test_where_none_is_comfortable_the_smallest_is_recommended() -> None:
    assert fit(4 * GB, 3 * GB) == [("o/tiny", True), ("o/small", False)]
    assert fit(2 * GB, 1 * GB) == []


def test_the_disk_must_take_the_download() -> None:
    assert fit(64 * GB, 60 * GB, disk=5 * GB) == [("o/small", True), ("o/tiny", False)]


def test_unknown_memory_rules_nothing_out_and_begins_small() -> None:
    assert fit(None, None) == [("o/tiny", True), ("o/large", False), ("o/small", False)]


def test_what_is_said_of_a_number_of_parameters_is_near_the_truth() -> None:
    llama_8b, size = 8_030_261_248, 4.92 * GB  # of its Q4_K_M
    assert abs(parameters_in(round(size)) / llama_8b - 1) < 0.01
    assert size < memory_of(llama_8b) < 6.5 * GB


def test_what_is_said_does_not_contradict_the_list() -> None:
    """ "The largest that runs" stood above a larger one that runs."""

    def said(total: int) -> dict[str, str]:
        found = models_that_fit(
            MODELS, total_memory=total, available_memory=total, free_disk=10**15
        )
        return {choice.repo: choice.why for choice in found}

    whys = said(64 * GB)
    assert whys["o/small"] == "runs comfortably in 64.0 GB of memory"
    assert whys["o/large"] == "needs about 7.1 GB of memory, a long download"
    assert whys["o/tiny"] == "needs about 1.1 GB of memory"
    assert said(16 * GB)["o/large"].endswith("leaves less to other programs")
    assert said(4 * GB)["o/tiny"] == "the smallest, for 4.0 GB of memory"
