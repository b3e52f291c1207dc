"""How a backend's script speaks with localq: a JSON object a line on what was standard output.

Import this first. The libraries print bars and banners: file descriptor 1 becomes 2, which goes to
a log, before they are loaded. Standard input is a pipe whose other end localq holds: when that
closes, however localq ended, this process and all that it started end too.
"""

import json
import os
import signal
import sys
import threading
import traceback

_events = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
os.dup2(2, 1)
_lock = threading.Lock()

_ARCHITECTURE = ("not supported", "unsupported model", "does not recognize this architecture")
_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


def say(event, **values):
    line = json.dumps({"event": event, **values})
    with _lock:
        _events.write(line + "\n")
        _events.flush()


def _end_with_localq():
    while os.read(0, 4096):
        pass
    if hasattr(os, "killpg"):
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def _reason(error):
    text = str(error).strip() or type(error).__name__
    low = text.lower()
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
        return "memory", text
    if any(words in low for words in _MEMORY):
        return "memory", text
    if isinstance(error, OSError) and error.errno in (28, 122):
        return "disk", text
    if "no space left" in low:
        return "disk", text
    if any(words in low for words in _ARCHITECTURE):
        return "architecture", text
    if isinstance(error, ImportError):
        return "import", text
    return "other", f"{type(error).__name__}: {text}"


def run(tasks):
    """Do what the request, a JSON file named by the first argument, asks of one of `tasks`."""
    threading.Thread(target=_end_with_localq, daemon=True).start()
    try:
        with open(sys.argv[1], encoding="utf-8") as file:
            request = json.load(file)
        say("done", **(tasks[request["task"]](request) or {}))
    except BaseException as error:
        traceback.print_exc()
        kind, text = _reason(error)
        say("failed", kind=kind, text=text[:2000])
        sys.stdout.flush()
        os._exit(1)
    # Its threads and pools are of no more use, and some wait for each other at the end.
    sys.stdout.flush()
    os._exit(0)
