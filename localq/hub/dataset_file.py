"""One file of a dataset on the Hub, small enough for memory."""

from __future__ import annotations

import threading
from functools import partial
from urllib.parse import quote

from localq.errors import HubError
from localq.events import Emit
from localq.hub.backoff import Backoff, RetryPolicy
from localq.hub.session import HubSession
from localq.hub.source import TransferInterrupted
from localq.hub.waiting import ask
from localq.messages import msg

__all__ = ["fetch_dataset_file"]


def fetch_dataset_file(
    dataset: str,
    path: str,
    most: int,
    *,
    emit: Emit,
    cancel: threading.Event,
    policy: RetryPolicy | None = None,
) -> bytes:
    """The file at `path` of the dataset's main branch, at most `most` bytes. What it is, is for
    the caller to check. OfflineError, NotFoundError, HubError, Cancelled."""
    session = HubSession.from_environment()
    backoff = Backoff(policy or RetryPolicy(), cancel, emit)
    while True:
        try:
            question = partial(_read, session, dataset, path, most)
            return ask(question, session.host, emit=emit, cancel=cancel)
        except TransferInterrupted as error:
            backoff.wait(error)


def _read(session: HubSession, dataset: str, path: str, most: int) -> bytes:
    asked = session.asked(f"datasets/{dataset}", "main", path)
    body = bytearray()
    with session.get(f"/datasets/{dataset}/resolve/main/{quote(path)}", asked) as response:
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > most:
                raise HubError(
                    msg("{dataset}: {path} is longer than it should be", dataset=dataset, path=path)
                )
    return bytes(body)
