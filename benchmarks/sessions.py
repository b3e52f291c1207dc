"""How long listing, opening and searching sessions takes, with many of them.

python -m benchmarks.sessions [--sessions 10000] [--messages 100] [--home FOLDER]

With --home the database is made once, and used again.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from localq.paths import Paths
from localq.sessions import SessionStore
from localq.sessions.words import indexed

__all__ = ["fill", "main", "measure"]

_CHINESE = "模型量化内存线程速度下载转换对话历史记录文件数据库索引搜索结果问题回答代码函数变量学习"
_TEXTS = 20_000
"""So many different ones; the rest say the same again."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--messages", type=int, default=100)
    parser.add_argument("--home", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = options.home or Path(folder)
        paths = Paths(root / "data", root / "config", root / "cache", root / "log")
        began = time.perf_counter()
        if not paths.database.exists():
            fill(paths, options.sessions, options.messages)
        size = sum(path.stat().st_size for path in paths.data.glob("localq.db*"))
        total = options.sessions * options.messages
        print(f"{options.sessions:,} sessions, {total:,} messages, {size / 1e6:,.0f} MB,", end=" ")
        print(f"written in {time.perf_counter() - began:.0f} s", flush=True)
        for what, taken in measure(SessionStore(paths), options.sessions):
            middle, most = statistics.median(taken), max(taken)
            print(f"{what:58} {middle:8.1f} ms (at most {most:.1f})", flush=True)


def measure(store: SessionStore, sessions: int) -> Iterator[tuple[str, list[float]]]:
    """What was done, and the milliseconds that each of several rounds took."""
    middle = sessions // 2
    last = sessions - 30
    yield "list 30", _timed(lambda: store.sessions(limit=30))
    yield "list 30, the last page", _timed(lambda: store.sessions(limit=30, skip=last))
    yield "list those of a tag", _timed(lambda: store.sessions(tags=["rare"]))
    yield "list all", _timed(store.sessions)
    yield "find by number", _timed(lambda: store.find(str(middle)))
    yield "find by title", _timed(lambda: store.find(f"Session {middle}"))
    yield "find by a part of a title", _timed(lambda: store.find(f"ession {middle}"))
    yield "open", _timed(lambda: store.opened(middle))
    for what, words in (
        ("a frequent word", "word1"),
        ("a rare word", "needle77"),
        ("a beginning", "wor"),
        ("two frequent words", "word1 word2"),
        ("two words that never meet", "needle77 needle78"),
        ("a Chinese word", "模型"),
        ("a frequent Chinese letter", "的"),
        ("a Chinese word that is not there", "的模型的"),
        ("nothing", "zzzzzz"),
    ):
        for skip in (0, 480):
            search = partial(store.search, words, limit=20, skip=skip)
            yield f"search: {what}, {len(search())} after {skip}", _timed(search)


def fill(paths: Paths, sessions: int, messages: int) -> None:
    """Straight into the tables, with no regard to what a power cut would leave: the store would
    commit a million times."""
    store = SessionStore(paths)
    store.remove(store.create().id)  # makes the tables
    chance = random.Random(1)
    words = [f"word{n}" for n in range(3000)]
    weights = [1 / (n + 1) for n in range(len(words))]

    def text(number: int) -> str:
        if chance.random() < 0.3:
            return "的".join("".join(chance.choices(_CHINESE, k=6)) for _ in range(8))
        rare = f" needle{number % 1000}" if chance.random() < 0.1 else ""
        return " ".join(chance.choices(words, weights, k=35)) + rare

    texts = [text(number) for number in range(_TEXTS)]
    said = [(content, indexed(content)) for content in texts]
    numbers = range(1, sessions * messages + 1)
    chosen = [chance.randrange(_TEXTS) for _ in numbers]
    with closing(sqlite3.connect(paths.database, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -400000")
        connection.execute("BEGIN")
        connection.execute("INSERT INTO words (words, rank) VALUES ('hashsize', 200000000)")
        connection.executemany(
            "INSERT INTO sessions (id, title, model, created_at, updated_at, leaf_id,"
            " message_count) VALUES (?, ?, 'org/model:Q4_K_M', ?, ?, ?, ?)",
            ((n, f"Session {n}", n, n, n * messages, messages) for n in range(2, sessions + 2)),
        )
        connection.executemany(
            "INSERT INTO session_tags VALUES (?, 'rare')", ((n,) for n in range(2, sessions, 97))
        )
        connection.executemany(
            "INSERT INTO messages (id, session_id, parent_id, role, content, state, created_at)"
            " VALUES (?, ?, ?, ?, ?, 'whole', 1)",
            (
                (
                    n,
                    (n - 1) // messages + 2,
                    n - 1 if (n - 1) % messages else None,
                    "user" if n % 2 else "assistant",
                    said[chosen[n - 1]][0],
                )
                for n in numbers
            ),
        )
        connection.executemany(
            "INSERT INTO words (rowid, text) VALUES (?, ?)",
            ((n, said[chosen[n - 1]][1]) for n in numbers),
        )
        connection.execute("INSERT INTO words (words, rank) VALUES ('hashsize', 1048576)")
        connection.execute("COMMIT")


def _timed(do: Callable[[], object], rounds: int = 11) -> list[float]:
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        do()
        taken.append(1e3 * (time.perf_counter() - began))
    return taken


if __name__ == "__main__":
    main()
