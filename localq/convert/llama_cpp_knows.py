"""Which architectures llama.cpp's own converter knows, without having it here.

llama_cpp_architectures.txt lists what the converter of llama-cpp-python LISTED_RELEASE registers;
another release may know more.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

__all__ = ["LISTED_RELEASE", "knows_architecture", "listed_architectures"]

LISTED_RELEASE = "0.3.36"


def knows_architecture(name: str) -> bool:
    """Whether `name`, as config.json has it, is one of them."""
    return name in listed_architectures()


@cache
def listed_architectures() -> frozenset[str]:
    """All of them."""
    listed = Path(__file__).with_name("llama_cpp_architectures.txt")
    return frozenset(listed.read_text("ascii").split())
