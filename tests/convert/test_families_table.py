"""docs/families.md says what is so, and the installed engine runs what is converted."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from localq.convert.families import ARCHITECTURES, family_class
from localq.convert.llama_cpp_knows import LISTED_RELEASE
from tests.reference.families_table import OUT, page


def test_the_page_is_what_its_script_writes() -> None:
    assert OUT.read_text("utf-8") == page()


def test_the_installed_engine_knows_every_native_family() -> None:
    """llama.cpp's names of architectures end with a NUL in its library."""
    if version("llama-cpp-python") != LISTED_RELEASE:
        pytest.skip(f"llama-cpp-python {LISTED_RELEASE} is not installed")
    llama_cpp = pytest.importorskip("llama_cpp")
    folder = Path(llama_cpp.__file__).parent / "lib"
    library = next(
        path
        for name in ("libllama.so", "libllama.dylib", "llama.dll")
        if (path := folder / name).is_file()
    )
    names = library.read_bytes()
    native = {family_class(architecture).architecture for architecture in ARCHITECTURES}
    assert not {name for name in native if name.encode() + b"\0" not in names}
