"""`localq`, and `python -m localq`: the command line, from its very first moment.

`localq` alone on a terminal goes straight to the terminal app: the command line's parser, which
would cost a tenth of the start, has nothing to do there.
"""

import os
import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line and return its exit code."""
    try:
        if len(sys.argv) == 1 and _has_screen():
            return _app()
        from localq.cli.main import main as run
    except KeyboardInterrupt:  # while Python still reads the program
        return 130
    return run()


def _has_screen() -> bool:
    ends = (sys.stdin, sys.stdout, sys.stderr)
    if None in ends:  # what Python makes of closed descriptors
        return False
    return all(end.isatty() for end in ends) and os.environ.get("TERM") != "dumb"


def _app() -> int:
    from localq.errors import LocalqError
    from localq.tui.start import run

    try:
        return run()
    except (LocalqError, OSError) as error:
        from localq.cli.main import failed

        return failed(error)


if __name__ == "__main__":
    sys.exit(main())
