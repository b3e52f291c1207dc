"""The `localq` command: finds the verb, runs it, and turns errors into exit codes.

0    done
1    failed: the reason is one line on stderr
2    bad usage: unknown option, verb or quantization type
130  interrupted by Ctrl-C
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

import click

from localq.errors import Cancelled, LocalqError, StorageError, UsageError
from localq.version import __version__

__all__ = ["cli", "main"]

_VERBS: Mapping[str, str] = {
    # verb -> its module in this package
    "search": "search",
    "fit": "fit",
    "pull": "pull",
    "quantize": "quantize",
    "imatrix": "imatrix",
    "convert": "convert",
    "import": "import_models",
    "list": "list_models",
    "show": "show",
    "path": "path",
    "run": "run",
    "plan": "plan",
    "tune": "tune",
    "bench": "bench",
    "hardware": "hardware",
    "alias": "alias",
    "tag": "tag",
    "note": "note",
    "rm": "rm",
    "restore": "restore",
    "trash": "trash",
    "du": "du",
    "verify": "verify",
    "doctor": "doctor",
    "jobs": "jobs",
}


class _Verbs(click.Group):
    """Verbs in the order of a day's work, each imported only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        command: click.Command = import_module(f"localq.cli.{_VERBS[cmd_name]}").command
        return command


@click.group(
    cls=_Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`localq` alone opens the terminal app. LOCALQ_HOME moves all of localq's folders.",
)
@click.version_option(__version__, "-V", "--version", prog_name="localq")
@click.pass_context
def cli(context: click.Context) -> None:
    """Get a language model running on your own machine."""
    if context.invoked_subcommand is None:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise UsageError(
                "the terminal app needs a terminal", hint="localq --help lists the verbs"
            )
        from localq.tui.app import run

        run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    from localq.cli import output

    output.use_utf8()
    try:
        cli.main(args=arguments, prog_name="localq", standalone_mode=False)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.Abort:
        return _failed(Cancelled("stopped"))
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "localq"
        return _failed(UsageError(error.format_message(), hint=f"{command} --help"))
    except click.ClickException as error:
        return _failed(LocalqError(error.format_message()))
    except KeyboardInterrupt:
        return _failed(Cancelled("stopped"))
    except LocalqError as error:
        return _failed(error)
    except OSError as error:
        # What the system refuses before anyone expected it to: a name too long, a folder gone.
        where = f"{error.filename}: " if error.filename else ""
        return _failed(StorageError(f"{where}{error.strerror or error}"))
    return 0


def _failed(error: LocalqError) -> int:
    from localq.cli import output

    output.error(error)
    return error.exit_code
