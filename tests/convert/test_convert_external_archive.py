"""Archives, requirements and progress bars that no honest release would have."""

from __future__ import annotations

import gzip
import io
import os
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from localq.convert.external import archive as unpacking
from localq.convert.external.archive import REQUIREMENTS, SCRIPT, unpack_converter
from localq.convert.external.child import python_environment, run_child
from localq.convert.external.pip import Package, Pip
from localq.convert.external.requirements import (
    Requirements,
    installed_release,
    read_requirements,
    with_torch,
)
from localq.errors import BadFileError, Cancelled, LocalqError, UsageError
from localq.events import JobEvent, Progress

TREE = "llama_cpp_python-1/vendor/llama.cpp"


def member(name: str, kind: bytes = tarfile.REGTYPE, **changes: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in changes.items():
        setattr(info, key, value)
    return info


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., Path]:
    def make(*odd: tarfile.TarInfo) -> Path:
        path = tmp_path / "release.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            for name in (SCRIPT, REQUIREMENTS):
                tar.addfile(member(f"{TREE}/{name}"))
            for info in odd:
                tar.addfile(info, io.BytesIO(bytes(info.size)))
        return path

    return make


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """The folder to unpack into; what lies beside it must stay as it is."""
    (tmp_path / "deep").mkdir()
    return tmp_path / "deep" / "out"


@pytest.mark.parametrize(
    ("odd", "says"),
    [
        (member(f"{TREE}/conversion/../../../../evil.py"), "not one localq unpacks"),
        (member(f"{TREE}/conversion/C:evil.py"), "not one localq unpacks"),
        (member(f"{TREE}/conversion/a\\..\\b.py"), "not one localq unpacks"),
        (member(f"{TREE}/conversion/.hidden"), "not one localq unpacks"),
        (member(f"{TREE}/gguf-py/link", tarfile.SYMTYPE, linkname="/etc"), "no plain file"),
        (member(f"{TREE}/gguf-py/link", tarfile.LNKTYPE, linkname="/etc/passwd"), "no plain file"),
        (member(f"{TREE}/gguf-py/pipe", tarfile.FIFOTYPE), "no plain file"),
        (member(f"{TREE}/gguf-py/device", tarfile.CHRTYPE), "no plain file"),
        (member(f"{TREE}/gguf-py/huge.py", size=(16 << 20) + 1), "too many for a script"),
        (member(f"{TREE}/{SCRIPT}"), "twice"),
    ],
)
def test_hostile_members_are_refused(
    pack: Callable[..., Path], outside: Path, odd: tarfile.TarInfo, says: str
) -> None:
    with pytest.raises(BadFileError, match=says):
        unpack_converter(pack(odd), outside)
    assert not list(outside.parent.parent.rglob("evil*"))


def test_what_is_not_the_converters_is_left(pack: Callable[..., Path], outside: Path) -> None:
    links = member(f"{TREE}/src/link", tarfile.SYMTYPE, linkname="/etc/passwd")
    odd = member("../../evil.py")
    empty = member(f"{TREE}/conversion", tarfile.DIRTYPE)
    unpack_converter(pack(links, odd, empty, member(f"{TREE}/models/big.gguf")), outside)
    assert sorted(path.name for path in outside.rglob("*") if path.is_file()) == [
        SCRIPT,
        Path(REQUIREMENTS).name,
    ]


@pytest.mark.parametrize(
    ("limit", "value"), [("_MAX_ARCHIVE_BYTES", 1 << 20), ("_MAX_MEMBERS", 3), ("_MAX_FILES", 3)]
)
def test_an_endless_archive_is_refused(
    pack: Callable[..., Path],
    outside: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: int,
) -> None:
    path = pack(
        member(f"{TREE}/src/large", size=2 << 20), *(member(f"{TREE}/conversion/{n}") for n in "ab")
    )
    unpack_converter(path, outside)
    monkeypatch.setattr(unpacking, limit, value)
    with pytest.raises(BadFileError):
        unpack_converter(path, outside.with_name("again"))


@pytest.mark.parametrize("cut", [0, 10, 100])
def test_a_torn_archive_is_refused(pack: Callable[..., Path], outside: Path, cut: int) -> None:
    path = pack(member(f"{TREE}/src/large", size=1 << 16))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(BadFileError):
        unpack_converter(path, outside)


def test_an_archive_of_something_else_is_refused(tmp_path: Path, outside: Path) -> None:
    path = tmp_path / "other.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(member("other-1/README"))
    with pytest.raises(BadFileError, match=f"has no vendor/llama.cpp/{SCRIPT}"):
        unpack_converter(path, outside)
    path.write_bytes(gzip.compress(os.urandom(2000)))
    with pytest.raises(BadFileError):
        unpack_converter(path, outside)


def test_requirements_as_the_release_has_them(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(
        "-r ./b.txt\n--extra-index-url https://example.org/cpu\n\n## why\ntorch==2.11.0  # pinned\n"
    )
    (tmp_path / "b.txt").write_text("-r a.txt\nnumpy~=2.2.6\ntorchvision\n")
    found = read_requirements(tmp_path / "a.txt")
    assert set(found.packages) == {"torch==2.11.0", "numpy~=2.2.6", "torchvision"}
    assert found.indexes == ("https://example.org/cpu",)
    changed = with_torch(found, {"LOCALQ_TORCH": "torch==2.13.0"})
    assert set(changed.packages) == {"torch==2.13.0", "numpy~=2.2.6", "torchvision"}
    assert with_torch(found, {}) == found
    for wrong in ("2.13.0", "--pre", "torchvision==1", "torch==1\n-e ."):
        with pytest.raises(UsageError, match="is no requirement of torch"):
            with_torch(found, {"LOCALQ_TORCH": wrong})


@pytest.mark.parametrize(
    "line", ["-e .", "--index-url https://example.org", "--extra-index-url http://example.org"]
)
def test_other_options_are_not_passed_on(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.txt").write_text(line)
    with pytest.raises(BadFileError, match="does not pass on"):
        read_requirements(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text("-r ../secret.txt")
    with pytest.raises(BadFileError, match="cannot be read"):
        read_requirements(tmp_path / "a.txt")


def test_the_installed_release_is_known() -> None:
    release = installed_release()
    assert release.version.startswith("0.3.")
    assert release.expected.torch == "torch==2.11.0"


# Stands for pip: says what its arguments were, how far it is, and what it would install.
PIP = """
import json, sys
args = sys.argv[1:]
if "--report" in args:
    entry = lambda name, url: {
        "metadata": {"name": name, "version": "1"}, "download_info": {"url": url}
    }
    entries = [entry("torch", sys.argv[0] and "file://" + sys.argv[0]), entry("odd", "ftp://x/y")]
    open(args[args.index("--report") + 1], "w").write(json.dumps({"install": entries}))
elif args[0] == "index":
    url = args[args.index("--index-url") + 1]
    print(f"Found link {url}" if "good" in url else f"  Could not fetch URL {url}/torch/: no")
else:
    for progress in ("0 of 10", "10 of 10", "0 of 20", "5 of 20"):
        print("Progress", progress)
    print("ERROR: no such thing")
    sys.exit("fail" in args)
"""


@pytest.fixture
def pip(tmp_path: Path) -> Pip:
    script = tmp_path / "pip.py"
    script.write_text(PIP)
    command = (sys.executable, str(script))
    return Pip(command, (26, 0), tmp_path, tmp_path / "log", threading.Event())


def test_the_plan_names_packages_and_sizes(pip: Pip, tmp_path: Path) -> None:
    size = (tmp_path / "pip.py").stat().st_size
    assert pip.plan(Requirements(("torch",))) == [
        Package("torch", "1", size),
        Package("odd", "1", None),
    ]
    old = Pip(pip.command, (25, 2), pip.scratch, pip.log, pip.cancel)
    assert old.plan(Requirements(("torch",))) is None


def test_an_index_that_does_not_answer(pip: Pip) -> None:
    assert pip.reachable("https://good.example/cpu")
    assert not pip.reachable("https://bad.example/cpu")


def test_progress_is_of_all_files_together(pip: Pip) -> None:
    events: list[JobEvent] = []
    pip.install(Requirements(("torch",)), 30, events.append)
    assert [(e.done, e.total) for e in events if isinstance(e, Progress)] == [
        (0, 30),
        (10, 30),
        (10, 30),
        (15, 30),
    ]
    with pytest.raises(LocalqError, match="could not be installed: no such thing"):
        pip.install(Requirements(("fail",)), 30, events.append)


def test_a_child_that_will_not_stop_is_killed_with_its_own(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows ends the tree at once")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    script = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "held = open(sys.argv[1], 'wb')\n"
        "if os.fork():\n"
        "    print('started', flush=True)\n"
        "time.sleep(600)"
    )
    cancel = threading.Event()

    def listen(line: str) -> bool:
        cancel.set()
        return False

    with pytest.raises(Cancelled):
        run_child(
            [sys.executable, "-c", script, fifo],
            env=python_environment(),
            cwd=tmp_path,
            log=tmp_path / "log",
            cancel=cancel,
            on_line=listen,
        )
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""  # which comes when the last of those who hold it is gone
    os.close(reader)
