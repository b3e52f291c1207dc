"""How large the offered models are, by what the headers of their files say."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from localq.errors import LocalqError
from localq.events import ignore
from localq.services.pull.choices import Choice

__all__ = ["SECONDS", "with_sizes"]

SECONDS = 4.0
"""How long a list of models may wait for its sizes."""
_LOOK_EVERY = 0.1


def with_sizes(
    choices: Sequence[Choice],
    *,
    seconds: float = SECONDS,
    cancel: threading.Event | None = None,
    size_of: Callable[[str, threading.Event], tuple[int, int]] | None = None,
) -> list[Choice]:
    """The same models, with parameters and bytes to be downloaded of those that the Hub tells of
    within `seconds`. Nothing is kept, and no failure is an error: a list without sizes is one.

    `size_of` asks for one repository.
    """
    stop = threading.Event()
    ask = size_of or _ask
    sized = list(choices)
    left = threading.Semaphore(0)

    def look(i: int) -> None:
        try:
            parameters, size = ask(choices[i].repo, stop)
            sized[i] = replace(choices[i], parameters=parameters, download_bytes=size)
        except (LocalqError, OSError):
            pass
        finally:
            left.release()

    # Daemons: a server that never answers does not keep the program from ending.
    for i in range(len(choices)):
        threading.Thread(target=look, args=(i,), name=f"size-{i}", daemon=True).start()
    until = time.monotonic() + seconds
    missing = len(choices)
    while missing and time.monotonic() < until and not (cancel and cancel.is_set()):
        missing -= left.acquire(timeout=_LOOK_EVERY)
    stop.set()
    return list(sized)


def _ask(repo: str, cancel: threading.Event) -> tuple[int, int]:
    """The parameters and the bytes of a repository's checkpoint."""
    from localq.hub.backoff import RetryPolicy
    from localq.hub.choose import choose_checkpoint
    from localq.hub.headers import read_remote_headers
    from localq.hub.repository import HubSource
    from localq.hub.spec import parse_spec
    from localq.hub.weight_index import index_reader

    once = RetryPolicy(retries=0)
    source = HubSource.resolve(parse_spec(repo), emit=ignore, cancel=cancel, policy=once)
    read_index = index_reader(source, ignore, cancel, once)
    chosen = choose_checkpoint(source.repo, source.files, read_index=read_index)
    headers = read_remote_headers(
        source, chosen.weight_files, emit=ignore, cancel=cancel, policy=once
    )
    parameters = sum(tensor.elements for header in headers for tensor in header.tensors)
    return parameters, chosen.size_bytes
