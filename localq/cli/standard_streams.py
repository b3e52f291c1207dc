"""Standard input, output and error as every program expects them, whoever started this one."""

from __future__ import annotations

import os
import sys

__all__ = ["give_up_broken_output", "hold_standard_streams"]

_INPUT, _OUTPUT, _ERROR = range(3)


def hold_standard_streams() -> None:
    """Occupy the descriptors 0, 1 and 2 where they are closed (as by `localq list >&-`).

    The next file that is opened, the library's database for one, would take such a number, and
    what the engine or a child writes to "standard output" would go into it. Reading finds nothing
    then; writing a result fails as it would without this, and what goes to standard error is lost.
    """
    for descriptor in (_INPUT, _OUTPUT, _ERROR):
        try:
            os.fstat(descriptor)
        except OSError:
            writable = descriptor == _ERROR
            opened = os.open(os.devnull, os.O_WRONLY if writable else os.O_RDONLY)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
    # None is what Python makes of a closed descriptor.
    if sys.stdin is None:
        sys.stdin = open(_INPUT, closefd=False, encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(_OUTPUT, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(_ERROR, "w", closefd=False, encoding="utf-8")  # noqa: SIM115


def give_up_broken_output() -> bool:
    """Whether standard output takes nothing (any more); what waits for it is then thrown away, so
    that the interpreter does not stumble over it at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        opened = os.open(os.devnull, os.O_WRONLY)
        os.dup2(opened, _OUTPUT)
        os.close(opened)
        return True
    return False
