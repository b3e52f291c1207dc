"""`localq pull --as` when the network, the disk or the user comes in between."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from localq.errors import (
    BadFileError,
    Cancelled,
    HubError,
    StorageError,
)
from localq.events import JobEvent, Note, Progress
from localq.formats.types import QuantType
from localq.library import Library
from localq.paths import Paths
from localq.quantize.journal import Journal
from localq.services.pull import arriving
from localq.services.pull import stream as service
from tests.checkpoints import read_safetensors, write_safetensors
from tests.families import write_family
from tests.hub_server import Cut, Fault, FlipByte, HubServer, Refuse, Resize, Slow
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

FIRST, SECOND, THIRD = (f"model-{i:05}-of-00003.safetensors" for i in (1, 2, 3))
Spoil = Callable[..., None]


@pytest.fixture
def checkpoint(hub: HubServer, tmp_path: Path) -> Path:
    folder = demo_in_shards(tmp_path / "tiny")
    hub.add_repo("org/tiny", folder)
    return folder


@pytest.fixture
def while_streaming(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> Spoil:
    """Have faults happen in the next run, from the moment on when the headers are known."""
    waiting: list[Fault] = []

    def write(*args: Any, **options: Any) -> arriving.Arrived:
        hub.faults[:] = waiting
        hub.sent.clear()
        waiting.clear()
        return real(*args, **options)

    real = arriving.write_as_it_arrives
    monkeypatch.setattr(service, "write_as_it_arrives", write)
    monkeypatch.setattr("localq.hub.session._TIMEOUT", httpx2.Timeout(600.0))
    return lambda *faults: waiting.extend(faults)


def size(checkpoint: Path, *shards: str) -> int:
    return sum((checkpoint / shard).stat().st_size for shard in shards)


def never_ending(*shards: str) -> list[Slow]:
    """After the first byte of these, nothing comes."""
    return [Slow(shard, bytes_per_second=0.001) for shard in shards]


def resumable(home: Paths) -> list[str]:
    """The ends of the names of files that are not finished."""
    return [name.rpartition(".")[2] for name in on_disk(home) if name.startswith(".")]


@pytest.mark.parametrize(
    "fault",
    [
        Cut(SECOND, after=100_000),
        Cut(SECOND, after=0),
        Cut(SECOND, times=3, after=70_000),
        Refuse(SECOND, times=2),
        Refuse(SECOND, status=429, headers={"Retry-After": "0"}),
    ],
    ids=["cut", "cut at once", "cut again and again", "503", "429"],
)
def test_a_broken_transfer_goes_on_at_that_byte(
    library: Library, hub: HubServer, checkpoint: Path, while_streaming: Spoil, fault: Fault
) -> None:
    while_streaming(fault)
    result = run(library)
    assert fault.times == 0
    assert result.model.path.read_bytes() == quantized(library, checkpoint)
    # What was on its way when the connection broke may have been sent in vain.
    assert hub.sent[SECOND] <= size(checkpoint, SECOND) + (64 << 10)
    assert eventually(lambda: hub.sent[THIRD] == size(checkpoint, THIRD))


def test_an_answer_of_another_length_is_not_believed(
    library: Library, hub: HubServer, checkpoint: Path, while_streaming: Spoil
) -> None:
    while_streaming(Resize(SECOND, size=150_000))
    result = run(library)
    assert result.model.path.read_bytes() == quantized(library, checkpoint)


def test_a_server_that_knows_no_ranges(
    library: Library, hub: HubServer, checkpoint: Path, while_streaming: Spoil
) -> None:
    hub.ignores_ranges = True
    while_streaming(Cut(SECOND, after=150_000))
    result = run(library)
    assert result.model.path.read_bytes() == quantized(library, checkpoint)
    assert hub.sent[SECOND] >= size(checkpoint, SECOND) + 150_000


@pytest.mark.parametrize("where", [5000, 150_000, -5])
def test_a_byte_that_flips_once(
    library: Library,
    hub: HubServer,
    checkpoint: Path,
    home: Paths,
    while_streaming: Spoil,
    where: int,
) -> None:
    while_streaming(FlipByte(SECOND, at=where))
    events: list[JobEvent] = []
    result = run(library, emit=events.append)
    assert result.model.path.read_bytes() == quantized(library, checkpoint)
    assert eventually(lambda: hub.sent[SECOND] == 2 * size(checkpoint, SECOND))
    assert eventually(lambda: hub.sent[FIRST] + hub.sent[THIRD] == size(checkpoint, FIRST, THIRD))
    warnings = [event.text for event in events if isinstance(event, Note) and event.warning]
    assert len(warnings) == 1
    assert f"{SECOND} arrived damaged: its sha256" in warnings[0]
    bars = [event for event in events if isinstance(event, Progress)]
    assert bars[-1].done == bars[-1].total == size(checkpoint, FIRST, SECOND, THIRD)
    assert on_disk(home) == ["tiny-Q4_0.gguf"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (FlipByte(THIRD, times=2, at=5000), "its sha256 is not the one listed"),
        (Resize(THIRD, times=2, size=500_000), "it is longer than the"),
        (FlipByte(THIRD, times=2, at=9), "it does not begin with the header"),
    ],
    ids=["flipped", "longer", "header"],
)
def test_what_arrives_damaged_twice_enters_nothing(
    library: Library,
    hub: HubServer,
    checkpoint: Path,
    home: Paths,
    while_streaming: Spoil,
    fault: Fault,
    message: str,
) -> None:
    while_streaming(fault)
    with pytest.raises(HubError, match=message) as caught:
        run(library)
    assert THIRD in caught.value.message
    assert "second time" in caught.value.message
    assert library.models() == []
    assert set(resumable(home)) <= {"journal", "resumable"}
    result = run(library)
    assert result.model.path.read_bytes() == quantized(library, checkpoint)
    assert on_disk(home) == ["tiny-Q4_0.gguf"]


def test_a_header_that_arrived_damaged(
    library: Library, hub: HubServer, checkpoint: Path, home: Paths
) -> None:
    """It is fetched on its own, where nothing can verify it; the file is the judge."""
    header = (checkpoint / SECOND).read_bytes()
    at = header.index(b'"data_offsets":[0,') + len(b'"data_offsets":[')
    hub.faults.append(FlipByte(SECOND, at=at))
    with pytest.raises((HubError, BadFileError), match=SECOND):
        run(library)
    assert library.models() == []
    assert run(library).model.path.read_bytes() == quantized(library, checkpoint)


def test_a_server_that_stays_broken(
    library: Library, hub: HubServer, checkpoint: Path, home: Paths, while_streaming: Spoil
) -> None:
    while_streaming(Refuse(SECOND, times=99))
    with pytest.raises(HubError, match="503"):
        run(library)
    assert library.models() == []
    hub.faults.clear()
    assert run(library).model.path.read_bytes() == quantized(library, checkpoint)


def after_a_note(action: Callable[[], None], patch: pytest.MonkeyPatch) -> None:
    """Do something when the first shard has been noted as finished."""
    add = Journal.add

    def added(self: Any, numbers: Any) -> None:
        add(self, numbers)
        action()

    patch.setattr(Journal, "add", added)


def test_cancelled_before_anything_is_verified_leaves_nothing(
    library: Library, checkpoint: Path, home: Paths, while_streaming: Spoil
) -> None:
    cancel = threading.Event()
    while_streaming(*never_ending(FIRST, SECOND))

    def at_first_bytes(event: JobEvent) -> None:
        if isinstance(event, Progress) and event.done:
            cancel.set()

    began = time.monotonic()
    with pytest.raises(Cancelled):
        run(library, emit=at_first_bytes, cancel=cancel)
    assert time.monotonic() - began < 300  # not until the server has something to say
    assert library.models() == []
    assert resumable(home) == []


def test_cancelled_and_gone_on_with(
    library: Library,
    hub: HubServer,
    checkpoint: Path,
    home: Paths,
    monkeypatch: pytest.MonkeyPatch,
    while_streaming: Spoil,
) -> None:
    cancel = threading.Event()
    with monkeypatch.context() as patch:
        while_streaming(*never_ending(SECOND, THIRD))
        after_a_note(cancel.set, patch)
        with pytest.raises(Cancelled, match="goes on from here"):
            run(library, cancel=cancel)
    assert library.models() == []
    assert sorted(resumable(home)) == ["journal", "resumable"]
    events: list[JobEvent] = []
    result = run(library, emit=events.append)
    assert eventually(lambda: hub.sent[FIRST] == 0)
    assert hub.sent[THIRD] <= size(checkpoint, THIRD) + 1000  # the rest of the slow answer
    assert result.model.path.read_bytes() == quantized(library, checkpoint)
    assert on_disk(home) == ["tiny-Q4_0.gguf"]
    bars = [event for event in events if isinstance(event, Progress)]
    assert bars[0].done >= size(checkpoint, FIRST)
    assert bars[-1].done == bars[-1].total


def test_other_contents_are_not_gone_on_with(
    library: Library,
    hub: HubServer,
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    while_streaming: Spoil,
) -> None:
    cancel = threading.Event()
    with monkeypatch.context() as patch:
        after_a_note(cancel.set, patch)
        while_streaming(*never_ending(SECOND, THIRD))
        with pytest.raises(Cancelled):
            run(library, cancel=cancel)
    tensors = read_safetensors(checkpoint / FIRST)
    name, (dtype, shape, data) = next(iter(tensors.items()))
    tensors[name] = (dtype, shape, bytes(len(data)))
    write_safetensors(checkpoint / FIRST, tensors)
    hub.add_repo("org/tiny", checkpoint)
    assert run(library).model.path.read_bytes() == quantized(library, checkpoint)


@pytest.mark.skipif(not hasattr(os, "pwrite"), reason="POSIX")
def test_a_full_disk_while_writing(
    library: Library, checkpoint: Path, home: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = os.pwrite, 0

    def full(*args: Any) -> int:
        nonlocal written
        written += 1
        if written > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StorageError, match="the disk is full") as caught:
        run(library)
    assert caught.value.hint
    assert library.models() == []
    assert resumable(home) == []


def test_weights_that_are_no_numbers(
    library: Library,
    hub: HubServer,
    checkpoint: Path,
    home: Paths,
    capfd: pytest.CaptureFixture[str],
) -> None:
    tensors = read_safetensors(checkpoint / SECOND)
    name = next(name for name, (_, shape, _) in tensors.items() if len(shape) > 1)
    dtype, shape, data = tensors[name]
    values = np.frombuffer(data, "<u2").copy()
    values[3 * shape[1] + 5] = 0x7FC0  # NaN in BF16
    tensors[name] = (dtype, shape, values.tobytes())
    write_safetensors(checkpoint / SECOND, tensors)
    hub.add_repo("org/tiny", checkpoint)
    with pytest.raises(BadFileError, match="NaN or infinity") as caught:
        run(library, QuantType.Q8_0)
    assert f"org/tiny/{SECOND}: tensor {name!r}" in caught.value.message
    assert "in row 3" in caught.value.message
    assert "\n" not in caught.value.message
    assert library.models() == []
    assert resumable(home) == []
    assert capfd.readouterr() == ("", "")


def test_numbers_that_became_none_on_the_way(
    library: Library, hub: HubServer, checkpoint: Path, while_streaming: Spoil
) -> None:
    """The codec sees the infinity first; the checksum says whose fault it is."""
    tensors = read_safetensors(checkpoint / SECOND)
    name = next(name for name, (_, shape, _) in tensors.items() if len(shape) > 1)
    dtype, shape, data = tensors[name]
    bits = np.frombuffer(data, "<u4").copy()
    bits[100] = 0x7E800000  # 8.5e37: all but one bit of the exponent
    tensors[name] = (dtype, shape, bits.tobytes())
    write_safetensors(checkpoint / SECOND, tensors)
    content = (checkpoint / SECOND).read_bytes()
    at = content.index(bits[100].tobytes() + bits[101].tobytes()) + 3
    hub.add_repo("org/tiny", checkpoint)
    while_streaming(FlipByte(SECOND, at=at))
    result = run(library, QuantType.BF16)
    assert eventually(lambda: hub.sent[SECOND] == 2 * size(checkpoint, SECOND))
    expected = quantized(library, checkpoint, QuantType.BF16)
    assert result.model.path.read_bytes() == expected
    (known,) = library.hashes.all().values()
    assert known.sha256 == sha256(expected).hexdigest()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX")
def test_killed_it_goes_on_with_the_unfinished_shards(
    library: Library, hub: HubServer, checkpoint: Path, home: Paths
) -> None:
    script = """
import os, signal, sys, threading
from localq.events import ignore
from localq.formats.types import QuantType
from localq.library import Library
from localq.quantize.journal import Journal
from localq.services.pull.stream import PullAsRequest, pull_as
left, add = int(sys.argv[1]), Journal.add
def added(self, numbers):
    global left
    if left:
        add(self, numbers)
        left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
Journal.add = added
pull_as(Library(), PullAsRequest("org/tiny", QuantType.Q4_0), ignore, threading.Event())
"""
    for notes in (0, 1, 1):
        killed = subprocess.run(
            [sys.executable, "-c", script, str(notes)], capture_output=True, check=False
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert library.models() == []
    hub.sent.clear()
    result = run(library)
    sizes = [size(checkpoint, shard) for shard in (FIRST, SECOND, THIRD)]
    headers = sum(min(size, HEADER_BYTES) for size in sizes)
    assert eventually(lambda: weights_sent(hub) - headers in (0, *sizes))  # one of them at most
    assert result.model.path.read_bytes() == quantized(library, checkpoint)
    assert on_disk(home) == ["tiny-Q4_0.gguf"]


def test_what_was_finished_but_not_entered_is_not_fetched_again(
    library: Library,
    hub: HubServer,
    checkpoint: Path,
    home: Paths,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Library, "add", stopped)
        with pytest.raises(Cancelled):
            run(library)
    assert (library.models(), resumable(home)) == ([], ["journal"])
    hub.sent.clear()
    result = run(library)
    headers = sum(min(size(checkpoint, shard), HEADER_BYTES) for shard in (FIRST, SECOND, THIRD))
    assert eventually(lambda: weights_sent(hub) == headers)
    assert result.model.path.read_bytes() == quantized(library, checkpoint)
    assert on_disk(home) == ["tiny-Q4_0.gguf"]


def test_what_is_entered_is_not_taken_back(
    library: Library, hub: HubServer, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "remove", lambda self: None)  # killed right before
        made = run(library).model.path
    whole = made.read_bytes()
    made.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert run(library, force=True).model.path.read_bytes() == whole


def stopped(*_: object) -> None:
    raise Cancelled("stopped")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX")
def test_killed_at_random_moments(
    library: Library, hub: HubServer, home: Paths, material: Path, tmp_path: Path
) -> None:
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    folder = write_family(tmp_path / "moe" / "tiny", "mixtral-tiny", material)
    hub.add_repo("org/tiny", reshard(folder, lambda number, name: number % 7))
    hub.rate = 2e6
    command = [sys.executable, "-m", "localq", "pull", "org/tiny", "--as", "q4_0"]
    for _ in range(12):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                process.wait(moments.uniform(1.0, 5.0))
            except subprocess.TimeoutExpired:
                process.kill()
        assert all(model.path.is_file() for model in Library().models()), f"seed {seed}"
    hub.rate = None
    result = run(library)
    assert result.model.path.read_bytes() == quantized(library, folder), f"seed {seed}"
    assert on_disk(home) == ["tiny-Q4_0.gguf"], f"seed {seed}"
