"""Lock files as they are shipped, which backend is really used, and what failures are called."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from localq.errors import (
    LocalqError,
    NotFoundError,
    OfflineError,
    StorageError,
    UnsupportedError,
)
from localq.gpu_quant.backend_packages import (
    PACKAGES,
    Accelerator,
    check_python,
    packages_named,
    resolve_name,
)
from localq.gpu_quant.install_failures import HashMismatch, failure
from localq.gpu_quant.lock_file import read_lock, written

_HASHED = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")


@pytest.mark.parametrize("name", PACKAGES)
def test_every_package_is_pinned_with_hashes(name: str) -> None:
    packages = PACKAGES[name]
    assert packages.version
    assert written(packages.pinned) == re.sub(r"(?m)^#.*\n", "", packages.lock_text)
    names = {one.name for one in packages.pinned}
    assert {name, "torch", "transformers", "setuptools", "wheel"} <= names
    assert packages.built_here <= names
    for one in packages.pinned:
        assert _HASHED.search(one.text), one.name
        assert "--hash" not in one.bare
    torch = next(one for one in packages.pinned if one.name == "torch")
    assert not torch.only_for_cuda
    assert {"triton", "nvidia-cublas"} <= {one.name for one in packages.pinned if one.only_for_cuda}
    if "nvidia-ml-py" in names:  # asks the driver, and is asked for without one
        assert not any(one.only_for_cuda for one in packages.pinned if one.name == "nvidia-ml-py")


def test_what_is_no_lock_file_is_refused() -> None:
    for text in ("torch>=2\n", "    --hash=sha256:00\n", "-r other.txt\n", "git+https://x\n"):
        with pytest.raises(ValueError, match="no package with a version"):
            read_lock(text)


@pytest.mark.parametrize(
    ("accelerator", "python", "used", "because"),
    [
        ("cuda", (3, 11), "auto-gptq", None),
        ("cuda", (3, 12), "gptqmodel", "Python 3.11"),
        ("cpu", (3, 11), "gptqmodel", "CUDA"),
    ],
)
def test_auto_gptq_where_it_exists(
    accelerator: Accelerator, python: tuple[int, int], used: str, because: str | None
) -> None:
    packages, why = resolve_name("auto-gptq", accelerator, python)
    assert packages.name == used
    assert because in why if because and why else why is None
    assert resolve_name("gptqmodel", accelerator, python) == (PACKAGES["gptqmodel"], None)


def test_unknown_backends_and_pythons() -> None:
    with pytest.raises(NotFoundError, match="no backend 'vllm'") as error:
        packages_named("vllm")
    assert "gptqmodel" in (error.value.hint or "")
    with pytest.raises(UnsupportedError, match=r"gptqmodel needs Python 3\.11 to 3\.13") as wrong:
        check_python(PACKAGES["gptqmodel"], (3, 14))
    assert "--python" in (wrong.value.hint or "")
    check_python(PACKAGES["gptqmodel"], (3, 12))


@pytest.mark.parametrize(
    ("said", "kind", "text"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", StorageError, "full"),
        ("error: failed to write (os error 28)", StorageError, "full"),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n"
            "    numpy==2.2.6 from https://x/numpy.whl (from -r r.txt (line 1)):",
            HashMismatch,
            "numpy: the file is not",
        ),
        (
            "WARNING: Retrying (Retry(total=4)) after 'NewConnectionError(x)'\n"
            "ERROR: No matching distribution found for torch==2.13.0",
            OfflineError,
            "cannot be reached",
        ),
        (
            "error: Failed to fetch: `https://x/simple/torch/`\n  Caused by: dns error: failed",
            OfflineError,
            "cannot be reached",
        ),
        (
            "ERROR: No matching distribution found for torch==2.13.0",
            LocalqError,
            "has no torch==2.13.0",
        ),
        (
            "ensurepip is not available.",
            UnsupportedError,
            "cannot make",
        ),
        (
            "ERROR: Package 'x' requires a different Python: 3.14.0 not in '<3.14'",
            UnsupportedError,
            "does not run with this Python",
        ),
        (
            "  error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory\n"
            "ERROR: Failed building wheel for pypcre",
            LocalqError,
            "must be compiled",
        ),
        ("ERROR: something else\n\n", LocalqError, "something else"),
        ("", LocalqError, "could not be installed"),
    ],
)
def test_failures_are_one_line(said: str, kind: type[LocalqError], text: str) -> None:
    error = failure(said.splitlines(), "gptqmodel", Path("/log/backend.log"))
    assert type(error) is kind
    assert text in error.message
    assert "\n" not in error.message
    assert error.hint
