"""Runs a command, and ends it with all that it started when standard input closes: when the
process that wanted it is gone, however that ended. A script: `python watchdog.py COMMAND...`."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress


def _end_all(process: "subprocess.Popen[bytes]") -> None:
    if sys.platform == "win32":
        tree = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
        subprocess.run(tree, capture_output=True, check=False)
    else:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _watch(process: "subprocess.Popen[bytes]") -> None:
    while os.read(0, 4096):
        pass
    _end_all(process)


def main(command: list[str]) -> int:
    """The command's exit code; 128 and the signal's number where one ended it."""
    group = None if sys.platform == "win32" else 0
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=group)
    threading.Thread(target=_watch, args=(process,), daemon=True).start()
    code = process.wait()
    _end_all(process)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
