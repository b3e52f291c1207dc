"""The sizes a dialog shows are those of the files that are then made."""

from __future__ import annotations

import threading

import pytest

from localq.cli.main import main
from localq.events import ignore
from localq.formats.types import QuantType
from localq.library import Library
from localq.paths import Paths
from localq.services.fit.sizes import sizes_to_make
from localq.services.make.quantize import QuantizeRequest, quantize


@pytest.mark.parametrize("quant", [QuantType.Q4_0, QuantType.Q8_0, QuantType.F16])
def test_sizes_are_those_of_the_files(quant: QuantType, home: Paths) -> None:
    assert main(["pull", "demo"]) == 0
    library = Library(home)
    (checkpoint,) = library.models()
    sizes = sizes_to_make(library, checkpoint.name)
    made = quantize(library, QuantizeRequest(quant, checkpoint.name), ignore, threading.Event())
    assert sizes[quant] == made.path.stat().st_size
    assert sizes_to_make(library, made.name or "")[quant] == sizes[quant]
