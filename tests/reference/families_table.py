"""Write docs/families.md: which architectures are native, and which go through llama.cpp.

    python -m tests.reference.families_table

`tests/convert/test_families_table.py` fails where the page is not what this would write.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from localq.convert.families import ARCHITECTURES, family_class
from localq.convert.llama_cpp_knows import LISTED_RELEASE, listed_architectures
from localq.convert.projectors import PROJECTORS

__all__ = ["OUT", "main", "page"]

OUT = Path(__file__).parents[2] / "docs" / "families.md"
_HEAD = f"""# Model families

Made by `python -m tests.reference.families_table`. An architecture is what a checkpoint's
config.json names. **Native** ones localq converts by itself: in one pass, without torch, byte for
byte as llama.cpp's converter does ([parity.md](parity.md) has the measurements). What else the
converter of llama-cpp-python {LISTED_RELEASE} knows goes **through llama.cpp**, which `--with
llama.cpp` sets up in an environment of its own. What is in neither list, **neither** knows; a GGUF
of it may run all the same, if somebody made one.

## Native

| in GGUF | architectures |
| --- | --- |
"""

_PROJECTORS = """## Projectors

A model that sees has a projector, which llama.cpp keeps in a file of its own (mmproj). `localq
convert` and `localq quantize` make it with the model, `localq convert --mmproj` alone; whole files
are llama.cpp's, in F32, F16 and BF16, but for one vector that its converter forgets of Pixtral's.

| projector | architectures |
| --- | --- |"""


def page() -> str:
    """The whole page."""
    parts = [*_native(), "", *_projectors(), "", *_through_llama_cpp()]
    return _HEAD + "\n".join(parts) + "\n"


def _native() -> Iterator[str]:
    named: dict[str, list[str]] = {}
    for architecture in sorted(ARCHITECTURES):
        named.setdefault(family_class(architecture).architecture, []).append(architecture)
    for in_gguf in sorted(named):
        yield f"| {in_gguf} | {', '.join(named[in_gguf])} |"


def _projectors() -> Iterator[str]:
    """What sees, in a file of its own."""
    yield _PROJECTORS
    kinds: dict[str, list[str]] = {}
    for architecture, place in sorted(PROJECTORS.items()):
        module, _, name = place.partition(":")
        found = getattr(import_module(f"localq.convert.projectors.{module}"), name)
        kinds.setdefault(found.kind, []).append(architecture)
    for kind in sorted(kinds):
        yield f"| {kind} | {', '.join(kinds[kind])} |"


def _through_llama_cpp() -> Iterator[str]:
    rest = sorted(listed_architectures() - ARCHITECTURES.keys())
    yield f"## Through llama.cpp\n\n{len(rest)} architectures, those of other senses among them:\n"
    yield ", ".join(rest) + "."


def main() -> None:
    OUT.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
