"""Kills `localq chat` with SIGKILL while a reply streams, and asks what is left of it.

    python -m tests.kill_chat [--seed N] [--rounds 30]

The session must hold everything that the program had said a second before, its tree must be whole,
and the next reply must work. Prints its seed, and how much was lost at most.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from localq.paths import Paths
from localq.sessions import MessageState, OnFull, Preset, SessionStore
from localq.sessions.preset_files import PresetFiles
from tests.engine.test_engine import DEMO, make_gguf

__all__ = ["Round", "kill_rounds"]

_LOST_SECONDS = 1.0
_LATEST_KILL = 4.0


@dataclass(frozen=True, slots=True)
class Round:
    """One kill: after how many seconds of the reply, and what was lost of it."""

    after_seconds: float
    said: int
    """Characters that the program had said."""
    kept: int
    lost_seconds: float
    """How old the first character was that was lost; 0: nothing was."""


def kill_rounds(root: Path, seed: int, rounds: int) -> list[Round]:
    """AssertionError, which names the seed, where a kill left what it must not."""
    chance = random.Random(seed)
    home = root / "home"
    environ = {**os.environ, "LOCALQ_HOME": str(home), "LOCALQ_LANG": "en"}
    paths = Paths.from_environment(environ)
    model = make_gguf(DEMO, root)
    endless = {"ignore_eos": True, "temperature": 1.0}
    PresetFiles(paths).put(Preset("endless", sampling=endless, on_full=OnFull.SLIDE))
    return [
        _round(model, paths, environ, f"{seed}, round {number}", chance.uniform(0, _LATEST_KILL))
        for number in range(rounds)
    ]


def _round(
    model: Path, paths: Paths, environ: Mapping[str, str], title: str, after: float
) -> Round:
    program = [sys.executable, "-m", "localq", "chat", "--session", title]
    process = subprocess.Popen(
        [*program, str(model), "--preset", "endless", "--ctx", "4096"],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    process.stdin.write(b"Once upon a time\n")
    process.stdin.flush()
    pieces: list[tuple[float, bytes]] = []
    began = threading.Event()

    def listen() -> None:
        assert process.stdout
        while data := os.read(process.stdout.fileno(), 65536):
            pieces.append((time.monotonic(), data))
            began.set()

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        assert began.wait(120), process.stderr.read().decode()
        time.sleep(after)  # the moment of the kill is what this is about
    finally:
        process.kill()
        killed = time.monotonic()
        process.wait()
        listener.join()
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()
    said = b"".join(data for _, data in pieces).decode("utf-8", "ignore")
    kept = _kept(paths, title)
    due = b"".join(d for at, d in pieces if at < killed - _LOST_SECONDS).decode("utf-8", "ignore")
    assert kept.startswith(due), f"{title}: {len(kept)} characters kept, {len(due)} were due"
    _next_reply_works(program, paths, environ, title, kept)
    return Round(after, len(said), len(kept), _lost_seconds(pieces, len(kept.encode()), killed))


def _kept(paths: Paths, title: str) -> str:
    """What the session holds of the reply, in a tree that is whole."""
    store = SessionStore(paths)
    session, tree = store.opened(store.find(title).id)
    assert not store.is_busy(session.id)
    assert session.message_count == len(tree)
    path = tree.path(session.leaf_id)
    assert [message.role for message in path] == ["user", "assistant"]
    assert path[-1].state is MessageState.GROWING
    with closing(sqlite3.connect(paths.database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    return path[-1].content


def _next_reply_works(
    program: list[str], paths: Paths, environ: Mapping[str, str], title: str, kept: str
) -> None:
    done = subprocess.run(
        [*program, "--max-tokens", "4"],
        env=environ,
        input=" And then\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    store = SessionStore(paths)
    session, tree = store.opened(store.find(title).id)
    path = tree.path(session.leaf_id)
    assert [message.role for message in path] == ["user", "assistant"] * 2
    assert (path[1].state, path[1].content) == (MessageState.INTERRUPTED, kept)
    assert path[3].state is MessageState.WHOLE
    assert path[3].content


def _lost_seconds(pieces: list[tuple[float, bytes]], kept: int, killed: float) -> float:
    length = 0
    for at, data in pieces:
        length += len(data)
        if length > kept:
            return killed - at
    return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description="kill localq chat while a reply streams")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory() as folder:
        done = kill_rounds(Path(folder), options.seed, options.rounds)
    for one in done:
        print(
            f"killed after {one.after_seconds:.2f} s: {one.kept} of {one.said} characters kept,"
            f" the last {one.lost_seconds:.2f} s lost"
        )
    print(f"at most {max(one.lost_seconds for one in done):.2f} s were lost")


if __name__ == "__main__":
    main()
