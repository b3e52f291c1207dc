"""`python -m localq` is `localq`."""

import sys

from localq.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
