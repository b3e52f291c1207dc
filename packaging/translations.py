"""The catalogues of translations: what is missing, and the files that the program reads.

    python packaging/translations.py           list the texts without a translation
    python packaging/translations.py --update  add new texts to every localq.po, drop those that
                                               are gone, and compile localq.mo

The texts are found in the source: the first argument of every `msg(...)` and, in the terminal
app, `tr(...)`, the help of every verb and option, and the words of click itself.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
LOCALES = ROOT / "localq" / "locale"
_WRAPPERS = frozenset({"msg", "tr"})
_CLICK = re.compile(r'\b_\(\s*"((?:[^"\\]|\\.)*)"')


def texts() -> dict[str, list[str]]:
    """Every text that a person may read -> the files it stands in."""
    found: dict[str, list[str]] = {}
    for text, place in (*_in_source(), *_in_help(), *_of_click()):
        places = found.setdefault(text, [])
        if place not in places:
            places.append(place)
    return found


def wrapped(tree: ast.AST) -> Iterator[str]:
    """The texts that a module marks for translation."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            first = node.args[0]
            if node.func.id in _WRAPPERS and isinstance(first, ast.Constant):
                yield str(first.value)


def _in_source() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "localq").rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        for text in wrapped(ast.parse(path.read_text(encoding="utf-8"))):
            if re.search(r"[A-Za-z]{2}", re.sub(r"\{[^}]*\}", "", text)):
                yield text, place


def _in_help() -> Iterator[tuple[str, str]]:
    from localq.cli.main import _VERBS, cli

    yield from _help_of(cli, "localq/cli/main.py")
    for verb in _VERBS.values():
        yield verb.about, "localq/cli/main.py"
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        yield from _help_of(command, f"localq/cli ({name})")


def _help_of(command: click.Command, place: str) -> Iterator[tuple[str, str]]:
    for text in (command.help, command.short_help, command.epilog):
        if text:
            yield inspect.cleandoc(text), place
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.help:
            yield parameter.help, place
    if isinstance(command, click.Group) and type(command) is click.Group:
        for below in command.commands.values():
            yield from _help_of(below, place)


def _of_click() -> Iterator[tuple[str, str]]:
    for name in ("core", "exceptions", "formatting", "decorators", "parser", "types"):
        source = inspect.getsource(import_module(f"click.{name}"))
        for match in _CLICK.finditer(source):
            yield ast.literal_eval(f'"{match[1]}"'), f"click/{name}.py"


def catalogue(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=path.parents[1].name)


def files() -> list[Path]:
    return sorted(LOCALES.glob("*/LC_MESSAGES/localq.po"))


def missing(path: Path) -> list[str]:
    """The texts without a translation in the catalogue."""
    known = catalogue(path)
    return [text for text in texts() if not (text in known and known[text].string)]


def update(path: Path) -> None:
    """Bring the catalogue's texts up to date, translations kept, and compile it."""
    old = catalogue(path)
    new = Catalog(locale=path.parents[1].name, domain="localq", project="localq", fuzzy=False)
    new.mime_headers = [
        (name, value)
        for name, value in new.mime_headers
        if name in ("Language", "MIME-Version", "Content-Type", "Content-Transfer-Encoding")
    ]
    for text, places in sorted(texts().items()):
        kept = old[text].string if text in old else ""
        new.add(text, kept, locations=[(place, None) for place in places])
    with path.open("wb") as file:
        write_po(file, new, omit_header=False, width=0, no_location=False)
    with path.with_suffix(".mo").open("wb") as file:
        write_mo(file, new)


def main() -> int:
    for path in files():
        if "--update" in sys.argv:
            update(path)
        for text in (left := missing(path)):
            print(f"{path.relative_to(ROOT)}: {text!r}")
        if left:
            print(f"{len(left)} without a translation")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
