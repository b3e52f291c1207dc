"""The `localq` command: finds the verb, runs it, and turns errors into exit codes.

0    done
1    failed: the reason is one line on stderr
2    bad usage: unknown option, verb or quantization type
130  interrupted by Ctrl-C
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import NamedTuple

import click

from localq.errors import Cancelled, LocalqError, StorageError, UsageError
from localq.messages import language, msg, translate
from localq.paths import Paths
from localq.settings import read_settings, use_language
from localq.version import __version__

__all__ = ["cli", "main"]


class _Verb(NamedTuple):
    """`module` is in this package; `about` is what the list of verbs says, which imports none."""

    module: str
    about: str


_VERBS: Mapping[str, _Verb] = {
    "search": _Verb("search", "Find models on the Hugging Face Hub."),
    "fit": _Verb("fit", "Show which types of a model fit this machine, before downloading it."),
    "pull": _Verb("pull", "Download a model from the Hugging Face Hub."),
    "quantize": _Verb("quantize", "Convert a checkpoint to GGUF and quantize it."),
    "imatrix": _Verb("imatrix", "Measure which weights matter, for better small quantizations."),
    "convert": _Verb("convert", "Convert a checkpoint to GGUF without quantizing it."),
    "import": _Verb("import_models", "Take in models that are on this machine already."),
    "list": _Verb("list_models", "List the models of the library."),
    "show": _Verb("show", "Show all that is known of a model."),
    "path": _Verb("path", "Print the path of a model, for scripts and LangChain."),
    "run": _Verb("run", "Let a model answer one prompt."),
    "chat": _Verb("chat", "Talk with a model; what is said is kept."),
    "serve": _Verb("serve", "Answer other programs, as OpenAI's API does, on this machine."),
    "open": _Verb("open_with", "Print what other programs need to use `localq serve`."),
    "ps": _Verb("ps", "List the models that are loaded now."),
    "stop": _Verb("stop", "Unload models, and give their memory back."),
    "embed": _Verb("embed", "Turn texts into vectors."),
    "rerank": _Verb("rerank", "Order documents by how well they answer a question."),
    "sessions": _Verb("sessions", "Conversations that are kept: list, search, export them."),
    "presets": _Verb("presets", "System prompts and sampling under a name."),
    "plan": _Verb("plan", "Show how a model would be loaded on this machine."),
    "tune": _Verb("tune", "Find by measuring how a model runs fastest here."),
    "bench": _Verb("bench", "Measure how fast a model is on this machine."),
    "eval": _Verb("evaluate", "Measure how well models foretell a text: perplexity, divergence."),
    "compare": _Verb("compare", "Show models side by side: size, memory, speed and quality."),
    "recommend": _Verb("recommend", "Say how to quantize for a machine and a use, and why."),
    "recipe": _Verb("recipe", "Builds that can be repeated: pull, quantize, check by a file."),
    "advise": _Verb("advise", "What to do where a model disappoints, by what was measured."),
    "hardware": _Verb("hardware", "Show what this machine has and what the engine can use of it."),
    "engine": _Verb("engine", "Whether the engine works on this processor, and what mends it."),
    "backend": _Verb("backend", "Install and look after what makes AWQ and GPTQ."),
    "alias": _Verb("alias", "Give a model another name."),
    "tag": _Verb("tag", "Add and take away a model's tags."),
    "note": _Verb("note", "Write down something about a model."),
    "rm": _Verb("rm", "Move models into the trash."),
    "restore": _Verb("restore", "Bring models back from the trash."),
    "trash": _Verb("trash", "Show or empty the trash."),
    "du": _Verb("du", "Say what takes how much of the disk."),
    "verify": _Verb("verify", "Check that models are still what they were."),
    "doctor": _Verb("doctor", "Look for what is amiss, and mend it."),
    "jobs": _Verb("jobs", "Long work: what runs, what was interrupted; stop it, go on with it."),
    "logs": _Verb("logs", "Show what went wrong in the terminal app."),
}


class _Verbs(click.Group):
    """Verbs in the order of a day's work, each imported only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        command: click.Command = import_module(f"localq.cli.{_VERBS[cmd_name].module}").command
        return _in_users_language(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section(translate(msg("Commands"))):
            formatter.write_dl(
                [(name, translate(msg(verb.about))) for name, verb in _VERBS.items()]
            )


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
                msg("the terminal app needs a terminal"), hint=msg("localq --help lists the verbs")
            )
        if os.environ.get("TERM") == "dumb":
            raise UsageError(
                msg("this terminal cannot show a full screen (TERM=dumb)"),
                hint=msg("localq --help lists the verbs"),
            )
        from localq.tui.start import run

        context.exit(run())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    from localq.cli import output

    if None in (sys.stdin, sys.stdout, sys.stderr):  # what Python makes of closed descriptors
        from localq.cli.standard_streams import hold_standard_streams

        hold_standard_streams()
    output.use_utf8()
    try:
        use_language(read_settings(Paths.from_environment()))
        _in_users_language(cli)
        left_with = cli.main(args=arguments, prog_name="localq", standalone_mode=False)
    except (click.Abort, click.ClickException, KeyboardInterrupt, LocalqError, OSError) as error:
        return failed(error)
    return left_with if isinstance(left_with, int) else 0


def failed(error: BaseException) -> int:
    """Say what went wrong, in one line; the exit code."""
    from localq.cli import output

    known = _known(error)
    output.error(known)
    return known.exit_code


def _known(error: BaseException) -> LocalqError:
    match error:
        case LocalqError():
            return error
        case click.Abort() | KeyboardInterrupt():
            return Cancelled("stopped")
        case click.UsageError():
            command = error.ctx.command_path if error.ctx else "localq"
            hint = msg("{command} --help", command=command)
            return UsageError(error.format_message(), hint=hint)
        case click.ClickException():
            return LocalqError(error.format_message())
        case OSError():
            # What the system refuses before anyone expected it to: a name too long, a folder gone.
            from localq.cli.standard_streams import give_up_broken_output

            where = f"{error.filename}: " if error.filename else ""
            if give_up_broken_output():
                where = "the result cannot be written to standard output: "
            return StorageError(f"{where}{error.strerror or error}")
    raise error


def _in_users_language(command: click.Command) -> click.Command:
    if language() == "en":
        return command
    from localq.cli.help import in_users_language

    return in_users_language(command)
