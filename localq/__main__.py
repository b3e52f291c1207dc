"""`localq`, and `python -m localq`: the command line, from its very first moment."""

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line and return its exit code."""
    try:
        from localq.cli.main import main as run
    except KeyboardInterrupt:  # while Python still reads the program
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
