"""`localq serve [MODEL...]`"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from localq.cli import output
from localq.cli.interrupt import cancel_on_interrupt
from localq.cli.plan_options import plan_options, plan_options_from
from localq.cli.progress import ProgressDisplay
from localq.errors import UsageError
from localq.library import Library
from localq.messages import msg

if TYPE_CHECKING:
    from localq.server.run import Listening

__all__ = ["command"]


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=11435,
    show_default=True,
    help="Port to listen on; 0: any that is free.",
)
@click.option(
    "--api-key",
    envvar="LOCALQ_API_KEY",
    metavar="KEY",
    help="What clients have to send (or LOCALQ_API_KEY). Beyond this machine one is needed.",
)
@click.option(
    "--parallel",
    type=click.IntRange(1, 256),
    default=4,
    show_default=True,
    help="Requests that a model answers at the same time; they share its context.",
)
@click.option(
    "--queue",
    type=click.IntRange(0, 100_000),
    default=64,
    show_default=True,
    help="Requests that may wait for a model.",
)
@click.option("--keep", is_flag=True, help="Keep each MODEL loaded, used or not.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="A name this server goes by.")
@click.option(
    "--allow-origin", multiple=True, metavar="URL", help="A web page that may use it; *: any."
)
@click.option("--tls-cert", type=click.Path(path_type=Path, exists=True), help="Certificate (PEM).")
@click.option("--tls-key", type=click.Path(path_type=Path, exists=True), help="Its key (PEM).")
@click.option(
    "--allow-remote-images",
    is_flag=True,
    help="Fetch pictures that a request only names, from wherever it says.",
)
@click.option("--install", is_flag=True, help="Make it a service that starts at login.")
@plan_options
@click.pass_context
def command(
    context: click.Context,
    /,
    models: tuple[str, ...],
    host: str,
    port: int,
    api_key: str | None,
    parallel: int,
    queue: int,
    keep: bool,
    allow_host: tuple[str, ...],
    allow_origin: tuple[str, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
    allow_remote_images: bool,
    install: bool,
    **options: Any,
) -> None:
    """Answer other programs over HTTP, as OpenAI's API does.

    Every model of the library is there under its name, loaded when it is asked for. Each MODEL is
    loaded at once, and the first answers requests that name none. Ctrl-C ends it, once what is
    being answered is.
    """
    if (tls_cert is None) != (tls_key is None):
        raise UsageError(msg("--tls-cert and --tls-key belong together"))
    try:
        from localq.server.run import ServeRequest, serve
        from localq.server.settings import Limits, ServerSettings
    except ModuleNotFoundError as error:
        raise UsageError(
            msg("{package} is not installed", package=error.name or "starlette"),
            hint=msg('pip install "localq[serve]"'),
        ) from None
    if install:
        _install(context, api_key)
        return
    request = ServeRequest(
        models,
        keep,
        plan_options_from(**options),
        ServerSettings(
            host=host,
            port=port,
            api_key=api_key or None,
            allow_hosts=allow_host,
            allow_origins=allow_origin,
            tls_cert=tls_cert,
            tls_key=tls_key,
            remote_images=allow_remote_images,
            limits=Limits(parallel=parallel, queue=queue),
        ),
    )
    with (
        Library() as library,
        cancel_on_interrupt() as cancel,
        ProgressDisplay() as emit,
        _log_on_stderr(),
    ):
        serve(library, request, emit, cancel, _announce)


def _install(context: click.Context, api_key: str | None) -> None:
    """With the same options; the key goes where other users cannot see it."""
    from localq.services.serving.service_unit import install_unit

    command = [sys.executable, "-m", "localq", "serve"]
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not given or name in ("install", "api_key"):
            continue
        value = context.params[name]
        values = value if isinstance(value, tuple) else (value,)
        if isinstance(parameter, click.Argument):
            command += values
        elif getattr(parameter, "is_flag", False):
            command.append(parameter.opts[0])
        else:
            for one in values:
                command += [
                    parameter.opts[0],
                    str(one.absolute() if isinstance(one, Path) else one),
                ]
    kept = {name: os.environ[name] for name in ("LOCALQ_HOME",) if name in os.environ}
    if api_key:
        kept["LOCALQ_API_KEY"] = api_key
    unit = install_unit(command, kept)
    output.narrate(msg("wrote {path}", path=unit.path))
    output.narrate(msg("start it with:"))
    output.line(unit.start)


def _announce(listening: Listening) -> None:
    output.narrate(msg("listening on {url} (OpenAI's API: {url}/v1)", url=listening.url))
    if listening.generated_key:
        output.narrate(msg("clients need this key: {key}", key=listening.generated_key))


@contextmanager
def _log_on_stderr() -> Iterator[None]:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
    log = logging.getLogger("localq.server")
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]
