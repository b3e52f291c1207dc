"""How long listing, opening and searching sessions takes, with many of them.

python -m benchmarks.sessions [--sessions 10000] [--messages 100]
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from localq.database import Database
from localq.paths import Paths
from localq.sessions import SessionStore
from localq.sessions.words import indexed

_CHINESE = "模型量化内存线程速度下载转换对话历史记录文件数据库索引搜索结果问题回答代码函数变量学习"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--messages", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        paths = Paths(root / "data", root / "config", root / "cache", root / "log")
        store = SessionStore(paths)
        store.sessions()
        began = time.perf_counter()
        _fill(paths, options.sessions, options.messages)
        size = sum(path.stat().st_size for path in paths.data.glob("localq.db*"))
        total = options.sessions * options.messages
        print(f"{options.sessions:,} sessions, {total:,} messages, {size / 1e6:,.0f} MB,", end=" ")
        print(f"written in {time.perf_counter() - began:.0f} s")
        middle = options.sessions // 2
        _time("list all", store.sessions)
        _time("list 30", lambda: store.sessions(limit=30))
        _time("find by title", lambda: store.find(f"Session {middle}"))
        _time("open", lambda: store.opened(middle))
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
            _time(
                f"search: {what} ({len(store.search(words))} found)",
                lambda w=words: store.search(w),
            )


def _fill(paths: Paths, sessions: int, messages: int) -> None:
    """Straight into the tables: the store would commit a million times."""
    chance = random.Random(1)
    words = [f"word{n}" for n in range(3000)]
    weights = [1 / (n + 1) for n in range(len(words))]

    def text(number: int) -> str:
        if chance.random() < 0.3:
            return "的".join("".join(chance.choices(_CHINESE, k=6)) for _ in range(8))
        rare = f" needle{number % 100_000}" if chance.random() < 0.1 else ""
        return " ".join(chance.choices(words, weights, k=35)) + rare

    def rows() -> Iterator[tuple[int, int, int | None, str]]:
        number = 0
        for session in range(1, sessions + 1):
            for place in range(messages):
                number += 1
                yield number, session, number - 1 if place else None, text(number)

    with Database(paths.database).write() as connection:
        connection.executemany(
            "INSERT INTO sessions (id, title, model, created_at, updated_at, leaf_id,"
            " message_count) VALUES (?, ?, 'org/model:Q4_K_M', ?, ?, ?, ?)",
            ((n, f"Session {n}", n, n, n * messages, messages) for n in range(1, sessions + 1)),
        )
        for number, session, parent, content in rows():
            role = "user" if number % 2 else "assistant"
            connection.execute(
                "INSERT INTO messages (id, session_id, parent_id, role, content, state,"
                " created_at) VALUES (?, ?, ?, ?, ?, 'whole', 1)",
                (number, session, parent, role, content),
            )
            connection.execute(
                "INSERT INTO words (rowid, text) VALUES (?, ?)", (number, indexed(content))
            )


def _time(what: str, do: Callable[[], object], rounds: int = 11) -> None:
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        do()
        taken.append(1e3 * (time.perf_counter() - began))
    print(f"{what:55} {statistics.median(taken):8.1f} ms (at most {max(taken):.1f})")


if __name__ == "__main__":
    main()
