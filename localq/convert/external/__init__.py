"""llama.cpp's own converter, for the architectures that localq does not convert itself.

It comes out of the source archive of the very llama-cpp-python release that is installed, lives in
a virtual environment of its own, and runs as a child process. Nothing of it is imported here.
"""

from localq.convert.external.converter import OUTPUT_TYPES, run_converter
from localq.convert.external.environment import (
    Consent,
    Converter,
    converter_release,
    prepare_converter,
)
from localq.convert.external.older_transformers import readable_by_transformers_4

__all__ = [
    "OUTPUT_TYPES",
    "Consent",
    "Converter",
    "converter_release",
    "prepare_converter",
    "readable_by_transformers_4",
    "run_converter",
]
