"""`localq open [PROGRAM] [MODEL]`"""

from __future__ import annotations

import click

from localq.cli import output
from localq.library import Library
from localq.messages import msg

__all__ = ["command"]


@click.command()
@click.argument("program", required=False)
@click.argument("model", required=False)
@click.option(
    "--url", default="http://127.0.0.1:11435", show_default=True, help="Where the server is."
)
@click.option("--api-key", envvar="LOCALQ_API_KEY", default="localq", help="What it asks for.")
@click.option(
    "--ctx", "n_ctx", type=click.IntRange(16), help="The context; else as it would be planned."
)
def command(
    program: str | None, model: str | None, url: str, api_key: str, n_ctx: int | None
) -> None:
    """Print what PROGRAM has to be told to use MODEL through `localq serve`.

    Without PROGRAM: which ones are known. Without MODEL: the one used last.
    """
    from localq.services.hosting.prepared import prepare_model
    from localq.services.serving.client_settings import (
        PROGRAMS,
        ServerAddress,
        client_settings,
        server_base,
    )

    if program is None:
        for name in PROGRAMS:
            output.line(name)
        return
    if program not in PROGRAMS:
        client_settings(program, ServerAddress(url, "", api_key, 0))  # says which there are
    base = server_base(url)
    with Library() as library:
        found = library.find_gguf(model)
        if n_ctx is None:
            n_ctx = prepare_model(library, found.name).settings.n_ctx or 4096
    settings = client_settings(program, ServerAddress(base, found.name, api_key, n_ctx))
    output.narrate(msg("{where}:", where=settings.where))
    output.text(settings.text)
