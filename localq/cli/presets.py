"""`localq presets` and its own verbs"""

from __future__ import annotations

from typing import Any

import click

from localq.cli import output
from localq.cli.options import json_option
from localq.errors import UsageError
from localq.messages import msg
from localq.paths import Paths
from localq.sessions import Preset
from localq.sessions.preset_files import PresetFiles

__all__ = ["command"]

_ON_FULL = ("stop", "slide", "summarise")
_name = click.argument("name")


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """System prompt, sampling, and what happens when the context is full, under a name.

    `localq chat --preset NAME` uses one. Your own are files that you may edit.
    """
    if context.invoked_subcommand is None:
        _list(as_json)


@command.command(name="list", short_help="List the presets.")
@json_option
def list_command(as_json: bool) -> None:
    """List the presets: those that come with localq, and your own."""
    _list(as_json)


@command.command(short_help="Show a preset, and where its file is.")
@_name
@json_option
def show(name: str, as_json: bool) -> None:
    """Show a preset, and where its file is."""
    from localq.services.chat.presets import checked_preset

    files = _files()
    preset = checked_preset(files.get(name))
    if as_json:
        output.json_document(_document(files, preset))
        return
    output.field(msg("name"), preset.name)
    if preset.about:
        output.field(msg("about"), preset.about)
    output.field(msg("full context"), preset.on_full.value)
    for key, value in preset.sampling.items():
        output.field(key, value)
    if preset.system:
        output.field(msg("system"), preset.system)
    if files.is_own(name):
        output.field(msg("file"), files.path(name))


@command.command(name="set", short_help="Make a preset, or change one.")
@_name
@click.option("--system", help="The system prompt.")
@click.option("--on-full", type=click.Choice(_ON_FULL), help="What to do when the context is full.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of sampling, such as temperature=0.7; an empty value takes it away.",
)
@click.option("--about", help="What it is for.")
@click.option("--from", "origin", metavar="PRESET", help="Begin with what another one says.")
@json_option
def set_command(
    name: str,
    system: str | None,
    on_full: str | None,
    settings: tuple[str, ...],
    about: str | None,
    origin: str | None,
    as_json: bool,
) -> None:
    """Make the preset NAME, or change what is given of it."""
    from localq.services.chat.presets import checked_preset
    from localq.sessions.preset import preset_of

    files = _files()
    begin = origin if origin is not None else (name if name in files.names() else None)
    old = files.get(begin) if begin is not None else Preset(name)
    sampling = dict(old.sampling)
    for setting in settings:
        key, value = _setting(setting)
        sampling.pop(key, None)
        if value is not None:
            sampling[key] = value
    document: dict[str, object] = {
        "system": old.system if system is None else system,
        "about": old.about if about is None else about,
        "on_full": on_full or old.on_full.value,
        "sampling": sampling,
    }
    preset = checked_preset(preset_of(name, document))
    path = files.put(preset)
    if as_json:
        output.json_document(_document(files, preset))
    else:
        output.path(path)


@command.command(short_help="Remove a preset of your own.")
@_name
@json_option
def rm(name: str, as_json: bool) -> None:
    """Remove a preset of your own; one that comes with localq is then as it came."""
    files = _files()
    shipped = files.remove(name)
    if as_json:
        output.json_document({"name": name, "shipped": shipped})
    elif shipped:
        output.narrate(msg("{name} is as it came with localq", name=name))
    else:
        output.narrate(msg("{name} is removed", name=name))


def _list(as_json: bool) -> None:
    from localq.services.chat.presets import checked_preset

    files = _files()
    presets, problems = files.all()
    for preset in presets:
        try:
            checked_preset(preset)
        except UsageError as error:
            problems.append(error)
    if as_json:
        output.json_document([_document(files, preset) for preset in presets])
    else:
        output.table(
            (msg("NAME"), msg("WHEN FULL"), msg("SAMPLING"), msg("ABOUT")),
            (
                (
                    preset.name + (" *" if files.is_own(preset.name) else ""),
                    preset.on_full.value,
                    " ".join(f"{key}={value}" for key, value in preset.sampling.items()),
                    preset.about or preset.system,
                )
                for preset in presets
            ),
        )
    for problem in problems:
        output.warn(problem.message)


def _setting(text: str) -> tuple[str, object]:
    """NAME=VALUE, the value a number where it reads as one; None for an empty one."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(
            msg("{text!r} is no setting", text=text), hint=msg("--set temperature=0.7")
        )
    if not value:
        return key, None
    if value in ("true", "false"):
        return key, value == "true"
    for number in (int, float):
        try:
            return key, number(value)
        except ValueError:
            continue
    return key, value


def _document(files: PresetFiles, preset: Preset) -> dict[str, Any]:
    own = files.is_own(preset.name)
    return {
        **output.to_json(preset),
        "own": own,
        "path": str(files.path(preset.name)) if own else None,
    }


def _files() -> PresetFiles:
    return PresetFiles(Paths.from_environment())
