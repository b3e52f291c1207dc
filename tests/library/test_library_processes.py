"""Several processes in one library, and processes that die in the middle."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from contextlib import suppress
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from localq.errors import NotFoundError
from localq.library import Library
from localq.library.store import TRASH
from localq.paths import Paths
from tests.library.test_library_model import entry, stored

_ROUNDS = 12


def _home(folder: Path) -> Paths:
    return Paths(folder, folder, folder, folder)


def _work(folder: Path, me: int, together: Barrier, said: Queue[str]) -> None:
    """Add and remove models, of which some are the other process's too, and list all the time."""
    try:
        for number in range(_ROUNDS):
            together.wait(60)
            # Each round a catalogue of its own: the first moment is the most delicate.
            library = Library(_home(folder / f"round{number}"))
            stored(library, f"own/model{me}:Q4_0", used=me)
            stored(library, "both/model", used=me)
            library.touch("model" if me else f"model{me}")
            seen = {model.name for model in library.models()}
            assert {f"own/model{me}:Q4_0", "both/model"} <= seen, seen
            together.wait(60)
            with suppress(NotFoundError):  # the other one may be quicker
                library.remove("both/model")
            seen = {model.name for model in library.models()}
            assert "both/model" not in seen, seen
        said.put("")
    except BaseException as error:
        said.put(f"{me}: {error!r}")
        together.abort()
        raise


def test_two_processes_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    together, said = context.Barrier(2), context.Queue()
    processes = [
        context.Process(target=_work, args=(tmp_path, me, together, said)) for me in (0, 1)
    ]
    for process in processes:
        process.start()
    problems = [said.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    said.close()
    said.join_thread()
    assert problems == ["", ""]
    for number in range(_ROUNDS):
        folder = tmp_path / f"round{number}"
        names = [model.name for model in Library(_home(folder)).models()]
        assert names == ["own/model0:Q4_0", "own/model1:Q4_0"]
        # Nothing half-made and nothing of the removed model.
        assert sorted(path.name for path in folder.iterdir()) == ["localq.db", "models"]
        assert sorted(path.name for path in (folder / "models").iterdir()) == [TRASH, "own"]


_DYING = """
import os, signal, sys
from pathlib import Path
from localq.library import Library
from tests.library.test_library_model import entry, stored

home, act = Path(sys.argv[1]), sys.argv[2]

def prepare(step):
    os.environ["LOCALQ_HOME"] = str(home / str(step))
    library = Library()
    if act != "create":
        stored(library, "org/kept")
    if act not in ("create", "add"):
        stored(library, "org/new")
    if act in ("restore", "empty"):
        library.remove("org/new")
    return library

def perform(library):
    if act == "remove":
        library.remove("org/new")
        return
    if act == "restore":
        library.trash.restore(library.trash.find("org/new"))
        return
    if act == "empty":
        library.trash.empty(library.trash.entries())
        return
    folder = library.checkpoint_folder("org/new")
    parts = [library.paths.partial / name for name in ("config.json", "model.safetensors")]
    library.paths.partial.mkdir(parents=True, exist_ok=True)
    for part in parts:
        part.write_bytes(b"0123456789")
        library.admit(part, folder / part.name)
    library.add(entry("org/new", path=folder), [folder / part.name for part in parts])

def die_at(step):
    lines = 0
    def trace(frame, event, argument):
        nonlocal lines
        if "localq/library" not in frame.f_code.co_filename.replace(os.sep, "/"):
            return None
        if event == "line":
            lines += 1
            if lines == step:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)

step, stride = 1, int(sys.argv[3])
while True:
    library = prepare(step)
    child = os.fork()
    if not child:
        die_at(step)
        perform(library)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
    step += stride
print(step)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize("closely", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("act", "stride"),
    [("create", 97), ("add", 139), ("remove", 211), ("restore", 227), ("empty", 127)],
)
def test_killed_at_any_line_the_library_lists_whole_models(
    tmp_path: Path, act: str, stride: int, closely: bool
) -> None:
    root = Path(__file__).parents[2]
    stride = stride // 5 if closely else stride
    done = subprocess.run(
        [sys.executable, "-c", _DYING, str(tmp_path), act, str(stride)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert int(done.stdout) > 20
    seen: set[bool] = set()
    whole = ["config.json", "model.safetensors"]
    for folder in tmp_path.iterdir():
        library = Library(_home(folder / "data"))
        names = [model.name for model in library.models()]
        assert names in (["org/kept"], ["org/kept", "org/new"], ["org/new"], [])
        assert ("org/kept" in names) == (act != "create")
        seen.add("org/new" in names)
        for model in library.models():
            assert sorted(path.name for path in model.path.glob("*")) == whole
        if act in ("remove", "restore"):
            # Either there, or in the trash and whole again from there: never anything between.
            if "org/new" not in names:
                library.trash.settle()
                (gone,) = library.trash.entries()
                assert [path.is_file() for path in gone.files] == [True, True]
                assert not list(library.checkpoint_folder("org/new").glob("*"))
                library.trash.restore(gone)
            assert library.trash.entries() == []
            assert sorted(p.name for p in library.find("org/new").path.glob("*")) == whole
            library.remove("org/new")
        library.trash.empty(library.trash.entries())
        assert not (folder / "data" / "models" / TRASH).exists()
        # The same again succeeds.
        model = stored(library, "org/new")
        assert library.find("org/new") == model
    assert seen == ({False} if act == "empty" else {True, False})


def test_a_killed_writer_leaves_no_lock(home: Paths) -> None:
    model = stored(Library(), "org/model")
    code = """
import os
from localq.library import Library
with Library()._catalogue.write() as transaction:
    transaction.delete("org/model")
    print("writing", flush=True)
    input()
"""
    writer = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        assert Library().models() == [model]
        writer.kill()
    assert Library().models() == [model]
    Library().touch("model")
    assert entry("org/model").name == Library().remove("model").model.name
