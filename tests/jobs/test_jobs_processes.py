"""Several localq processes at work on the same thing at the same time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from localq.cli.main import main
from localq.events import ignore
from localq.jobs import JobState, JobStore
from localq.library import Library
from localq.paths import Paths
from localq.services.doctor.doctor import doctor
from tests.cli.test_jobs_cli import downloading, hub, start, until  # noqa: F401 - hub is a fixture
from tests.hub_server import HubServer

Ended = tuple[int, str, str]


def together(*commands: Sequence[str]) -> list[Ended]:
    """Run all of them at once: exit code, stdout and stderr of each."""
    processes = [start(*command) for command in commands]
    said = [process.communicate(timeout=120) for process in processes]
    return [
        (process.returncode, out, err) for process, (out, err) in zip(processes, said, strict=True)
    ]


def assert_sound(home: Paths) -> None:
    """Every file of every model is there, nothing is half-made, and doctor is content."""
    library = Library(home)
    for sizes in library.all_sizes().values():
        assert sizes
        for path, size in sizes.items():
            assert path.stat().st_size == size
    assert not [p for p in home.data.rglob("*") if p.name.endswith((".partial", ".resumable"))]
    assert doctor(library, ignore, threading.Event()).findings == ()


def test_two_pulls_of_the_same_model(hub: HubServer, home: Paths) -> None:  # noqa: F811
    hub.rate = 2e6
    ended = together(("pull", "org/model"), ("pull", "org/model"))
    codes = sorted(code for code, _, _ in ended)
    assert codes in ([0, 0], [0, 1])  # the second may come when the first is done
    for code, out, err in ended:
        if code:
            assert "does that already" in err or "pulled by another localq" in err
            assert out == ""
        else:
            assert out == "org/model\n"
    assert [job.state for job in JobStore(home).jobs()] == [JobState.FINISHED]
    assert_sound(home)


def test_two_quantizations_of_the_same_model(hub: HubServer, home: Paths) -> None:  # noqa: F811
    assert main(["pull", "org/model"]) == 0
    alone = home.data.parent.parent / "alone.gguf"
    assert main(["quantize", "q4_k_m", "org/model", "-o", str(alone)]) == 0
    ended = together(*[("quantize", "q4_k_m", "org/model")] * 3)
    assert 0 in [code for code, _, _ in ended]
    for code, _, err in ended:
        assert code in (0, 1)
        assert code == 0 or "does that already" in err or "making this very file" in err
    made = Library(home).find("org/model:Q4_K_M")
    assert digest(made.path) == digest(alone)
    assert {job.state for job in JobStore(home).jobs()} == {JobState.FINISHED}
    assert_sound(home)


def test_a_removal_while_the_model_is_pulled_again(hub: HubServer, home: Paths) -> None:  # noqa: F811
    assert main(["pull", "org/model"]) == 0
    (rm, pull) = together(("rm", "-y", "org/model"), ("pull", "org/model"))
    assert rm[0] == 0, rm
    assert pull[0] == 0, pull
    assert_sound(home)


def test_a_removal_while_the_model_is_first_pulled(hub: HubServer, home: Paths) -> None:  # noqa: F811
    hub.rate = 1.2e6
    with start("pull", "org/model") as process:
        downloading(JobStore(home))
        assert main(["rm", "-y", "org/model"]) == 1  # there is no such model yet
        assert process.wait(60) == 0
    assert [model.name for model in Library(home).models()] == ["org/model"]
    assert_sound(home)


def test_the_source_is_removed_while_it_is_quantized(hub: HubServer, home: Paths) -> None:  # noqa: F811
    assert main(["pull", "org/model"]) == 0
    quantize, rm = together(("quantize", "q4_k_m", "org/model"), ("rm", "-y", "org/model"))
    assert rm[0] == 0
    assert quantize[0] in (0, 1)
    assert "Traceback" not in quantize[2]
    assert_sound(home)


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
