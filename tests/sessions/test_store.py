"""Sessions in the database: kept, found, branched, forgotten."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localq.database import Database, schema
from localq.database.migrations import ALL
from localq.errors import LibraryError, LocalqError, NotFoundError, UsageError
from localq.library import Library
from localq.paths import Paths
from localq.sessions import (
    Attachment,
    MessageState,
    NewMessage,
    OnFull,
    Preset,
    SessionBusy,
    SessionStore,
    ToolCall,
)
from localq.sessions.exports import ExportFormat, export
from localq.sessions.session import shown_end


@pytest.fixture
def store(home: Paths) -> SessionStore:
    times = iter(range(1, 10_000))
    return SessionStore(home, clock=lambda: float(next(times)))


def talk(store: SessionStore, *texts: str, title: str = "") -> int:
    """A session of these messages, the user's first."""
    session = store.create(title=title, model="m")
    roles = ("user", "assistant")
    new = [NewMessage(roles[n % 2], text) for n, text in enumerate(texts)]  # type: ignore[arg-type]
    store.say(session.id, None, *new)
    return session.id


def test_what_is_said_is_there(store: SessionStore) -> None:
    preset = Preset("p", "Be brief.", {"temperature": 0.5, "stop": ("x",)}, OnFull.SLIDE)
    session = store.create(model="m:Q4_0", model_hash="sha256:1", plan={"n_ctx": 9}, preset=preset)
    asked = NewMessage("user", "Hello there", attachments=(Attachment("a.py", "x = 1", 4),))
    replied = NewMessage(
        "assistant",
        "Hi.",
        reasoning="They greet.",
        tool_calls=(ToolCall("f", "{}", "1"),),
        model="m:Q4_0",
        prompt_tokens=5,
        generated_tokens=2,
        generate_seconds=0.5,
        stop="eos",
    )
    store.say(session.id, None, asked, replied)
    kept, tree = store.opened(session.id)
    assert kept.title == "Hello there"
    assert (kept.model, kept.model_hash, kept.plan) == ("m:Q4_0", "sha256:1", {"n_ctx": 9})
    assert (kept.preset.system, kept.preset.on_full) == ("Be brief.", OnFull.SLIDE)
    assert kept.preset.sampling == {"temperature": 0.5, "stop": ["x"]}
    assert kept.message_count == 2
    first, second = tree.path(kept.leaf_id)
    assert first.attachments == asked.attachments
    assert (second.parent_id, second.reasoning) == (first.id, "They greet.")
    assert second.tool_calls == replied.tool_calls
    assert second.tokens_per_second == 4
    assert second.stop == "eos"


def test_nothing_is_made_by_looking(store: SessionStore, home: Paths) -> None:
    assert store.sessions() == []
    assert store.search("anything") == []
    with pytest.raises(NotFoundError):
        store.last()
    with pytest.raises(NotFoundError, match="no session 1"):
        store.session(1)
    assert not home.data.exists()


def test_an_edit_is_a_branch_and_both_stay(store: SessionStore) -> None:
    id_ = talk(store, "one", "1", "two", "2")
    _, tree = store.opened(id_)
    first, reply, *_ = tree.path(tree.newest_leaf())
    store.say(id_, reply.id, NewMessage("user", "zwei"), NewMessage("assistant", "ii"))
    session, tree = store.opened(id_)
    assert [m.content for m in tree.path(session.leaf_id)] == ["one", "1", "zwei", "ii"]
    assert [tree[i].content for i in tree.children(reply.id)] == ["two", "zwei"]
    assert session.message_count == 6
    with pytest.raises(UsageError, match="has no message"):
        store.say(talk(store, "other"), first.id, NewMessage("user", "x"))


def test_how_sessions_are_listed(store: SessionStore) -> None:
    old, new, put_away = talk(store, "old"), talk(store, "new"), talk(store, "away")
    store.create(model="m")  # in which nothing was said
    store.archive(put_away, True)
    assert [s.id for s in store.sessions()] == [new, old]
    store.pin(old, True)
    store.tag(old, ["Work", "home"])
    store.tag(old, [], ["home"])
    assert [s.id for s in store.sessions()] == [old, new]
    assert store.sessions()[0].tags == ("work",)
    assert [s.id for s in store.sessions(tags=["WORK"])] == [old]
    assert [s.id for s in store.sessions(archived=True)] == [put_away]
    assert [s.id for s in store.sessions(limit=1)] == [old]
    assert store.last().id == new


def test_what_a_name_means(store: SessionStore) -> None:
    trip, train = talk(store, "A trip to Xi'an"), talk(store, "A train to Xi'an")
    assert store.find(str(trip)).id == trip
    assert store.find("a TRAIN to xi'an").id == train
    assert store.find("trip").id == trip
    with pytest.raises(LibraryError, match="several sessions"):
        store.find("xi'an")
    for none in ("nobody", "", " "):
        with pytest.raises(NotFoundError):
            store.find(none)
    assert store.rename(trip, " A  walk ").title == "A walk"
    assert store.rename(trip, "7").title == "7"
    for bad in ("", " ", "x" * 201, "\ud800"):
        with pytest.raises(UsageError):
            store.rename(trip, bad)


def test_search(store: SessionStore) -> None:
    talk(store, "天气怎么样", "今天北京晴")
    cake = talk(store, "How do I bake a cake?", "With flour and eggs.")
    talk(store, "eggs again", title="Baking")
    assert [f.session.id for f in store.search("flour")] == [cake]
    (found,) = store.search("北京")
    assert "北京" in found.snippet
    assert found.message_id is not None
    assert len(store.search("eggs")) == 2
    (entitled,) = store.search("baking")
    assert entitled.message_id is None
    assert store.search("no such words") == []
    assert store.search(" ?! ") == []
    assert store.search("\ud800") == []
    store.remove(cake)
    assert store.search("flour") == []


def test_a_reply_grows_and_is_found_when_it_is_whole(store: SessionStore) -> None:
    session = store.create(model="m")
    growing = NewMessage("assistant", state=MessageState.GROWING)
    _, reply = store.say(session.id, None, NewMessage("user", "Tell"), growing)
    before = store.session(session.id).revision
    store.grow(session.id, reply, "Once upon", "hm")
    assert store.session(session.id).revision > before
    assert store.messages(session.id)[reply].content == "Once upon"
    assert store.search("upon") == []
    store.finish(session.id, reply, NewMessage("assistant", "Once upon a time", stop="eos"))
    assert store.messages(session.id)[reply].state is MessageState.WHOLE
    assert store.search("upon time")
    with pytest.raises(NotFoundError, match="removed from session"):
        store.grow(session.id, reply, "more")


def test_what_a_killed_program_left_is_settled_by_the_next_that_writes(
    store: SessionStore,
) -> None:
    session = store.create(model="m")
    growing = NewMessage("assistant", state=MessageState.GROWING)
    _, reply = store.say(session.id, None, NewMessage("user", "Tell"), growing)
    store.grow(session.id, reply, "half of it")
    with store.writing(session.id):
        message = store.messages(session.id)[reply]
        assert (message.state, message.content) == (MessageState.INTERRUPTED, "half of it")
        assert store.is_busy(session.id)
        with pytest.raises(SessionBusy), store.writing(session.id):
            pass
        with pytest.raises(SessionBusy):
            store.remove(session.id)
    assert store.search("half")
    assert not store.is_busy(session.id)
    store.remove(session.id)


def test_messages_that_came_to_nothing_leave_nothing(store: SessionStore) -> None:
    id_ = talk(store, "one", "1")
    session = store.session(id_)
    ids = store.say(id_, session.leaf_id, NewMessage("user", "vain"), NewMessage("assistant", ""))
    store.take_back(id_, ids, session.leaf_id)
    assert store.session(id_).message_count == 2
    assert store.search("vain") == []


def test_a_fork_has_one_branch_of_its_own(store: SessionStore) -> None:
    id_ = talk(store, "one", "1", "two", "2")
    _, tree = store.opened(id_)
    path = tree.path(tree.newest_leaf())
    store.say(id_, path[1].id, NewMessage("user", "zwei"))
    fork = store.fork(id_, path[2].id)
    _, copy = store.opened(fork.id)
    assert [m.content for m in copy.path(fork.leaf_id)] == ["one", "1", "two"]
    assert len(copy) == 3
    store.remove(id_)
    assert len(store.messages(fork.id)) == 3
    assert store.search("two")


def test_a_session_at_its_beginning_is_shown_and_copied(store: SessionStore) -> None:
    """Gone back to before all that was said, it has a branch to show, and no other number."""
    id_ = talk(store, "one", "1")
    store.go_to(id_, None)
    session, tree = store.opened(id_)
    assert "one" in export(session, tree, ExportFormat.MARKDOWN)
    fork, copy = store.opened(store.fork(id_).id)
    assert [m.content for m in copy.path(fork.leaf_id)] == ["one", "1"]
    assert fork in store.sessions()
    store.take_back(id_, [m.id for m in tree], None)
    with pytest.raises(UsageError, match="has no messages"):
        store.fork(id_)


def test_without_full_text_search(
    home: Paths, store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun with a SQLite that has no FTS5, gone on with one that has, and back."""

    def have(full_text: bool) -> None:
        for place in ("database.schema", "sessions.word_index"):
            monkeypatch.setattr(f"localq.{place}.has_full_text", lambda _: full_text)

    def tables() -> set[str]:
        with closing(sqlite3.connect(home.database)) as connection:
            return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}

    def found(text: str) -> list[int]:
        return [one.session.id for one in store.search(text)]

    have(False)
    first = talk(store, "a Cake of flour", "北京 is far")
    assert "words" not in tables()
    assert found("cake FLOUR") == found("北京") == [first]
    assert found("bread") == []
    have(True)
    assert found("cake") == [first]  # nothing was written yet
    second = talk(store, "bread and flour", "gone soon")
    assert "unindexed" not in tables()
    assert found("flour") == [second, first]
    have(False)
    third = talk(store, "flour once more", "eggs")
    store.remove(second)
    assert found("flour") == [third, first]
    have(True)
    assert found("flour") == [third, first]
    fourth = talk(store, "flour", "")
    assert found("flour") == [fourth, third, first]
    assert found("bread") == []
    store.remove(third)
    assert found("flour") == [fourth, first]
    with closing(sqlite3.connect(home.database)) as connection:
        connection.execute("INSERT INTO words (words) VALUES ('integrity-check')")


def test_page_by_page(store: SessionStore) -> None:
    ids = [talk(store, f"apple {number}", title=f"{number}") for number in range(5)]
    ids += [talk(store, "pear", title=f"apple {number}") for number in range(3)]
    listed = [store.sessions(limit=3, skip=skip) for skip in (0, 3, 6, 9)]
    assert [s.id for page in listed for s in page] == ids[::-1]
    assert [len(page) for page in listed] == [3, 3, 2, 0]
    found = [store.search("apple", limit=2, skip=skip) for skip in (0, 2, 4, 6, 8)]
    assert [f.session.id for page in found for f in page] == ids[::-1]
    assert [len(page) for page in found] == [2, 2, 2, 2, 0]


def test_only_words_are_tags(store: SessionStore) -> None:
    id_ = talk(store, "x")
    for bad in ("", "two words", "x" * 61, "\n"):
        with pytest.raises(UsageError):
            store.tag(id_, [bad])


_steps = st.lists(st.tuples(st.sampled_from("safrbt"), st.integers(0, 50)), max_size=16)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_steps)
def test_whatever_is_done_the_tree_is_whole(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    root = tmp_path_factory.mktemp("home")
    store = SessionStore(Paths(root / "data", root / "config", root / "cache", root / "log"))
    id_ = store.create(model="m").id
    for what, number in steps:
        session, tree = store.opened(id_)
        every = [message.id for message in tree]
        at = every[number % len(every)] if every else None
        match what:
            case "s":
                store.say(id_, session.leaf_id, NewMessage("user", f"said {number}"))
            case "a":
                store.say(id_, at, NewMessage("user", "a"), NewMessage("assistant", "b"))
            case "f" if len(tree):
                fork = store.fork(id_, at)
                shown = tree.path(shown_end(session, tree) if at is None else at)
                assert store.session(fork.id).message_count == len(shown) > 0
            case "r" if at is not None:
                leaf = tree[at].parent_id
                below = [m.id for m in tree if at in {n.id for n in tree.path(m.id)}]
                store.take_back(id_, below, leaf)
            case "b":
                store.go_to(id_, at)
            case "t":
                growing = NewMessage("assistant", state=MessageState.GROWING)
                store.say(id_, at, growing)
                with store.writing(id_):
                    pass
        session, tree = store.opened(id_)
        assert session.message_count == len(tree)
        assert session.leaf_id is None or session.leaf_id in tree
        assert all(m.parent_id is None or m.parent_id in tree for m in tree)
        assert not any(m.state is MessageState.GROWING for m in tree)
    with closing(sqlite3.connect(root / "data" / "localq.db")) as connection:
        connection.execute("INSERT INTO words (words) VALUES ('integrity-check')")
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


@pytest.fixture
def before_sessions(home: Paths) -> Paths:
    """A home whose database is of the version before there were sessions, with a model in it."""
    home.data.mkdir(parents=True)
    with closing(sqlite3.connect(home.database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for statements in ALL[:5]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(
            "INSERT INTO models (key, name, format, quant, architecture, parameters, size_bytes,"
            " path, created_at, used_at) VALUES ('a/b:q4_0', 'a/b:Q4_0', 'gguf', 'Q4_0', 'llama',"
            " 1, 2, 'a/b.gguf', 3, 4)"
        )
        connection.execute("PRAGMA user_version = 5")
    return home


def test_a_database_of_before_is_brought_up_to_date(before_sessions: Paths) -> None:
    store = SessionStore(before_sessions)
    assert store.sessions() == []
    id_ = talk(store, "hello")
    assert store.search("hello")[0].session.id == id_
    assert [model.name for model in Library(before_sessions).models()] == ["a/b:Q4_0"]


def test_a_database_of_a_later_localq(home: Paths) -> None:
    store = SessionStore(home)
    talk(store, "hello")
    with closing(sqlite3.connect(home.database)) as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
        connection.commit()
    for use in (store.sessions, lambda: talk(store, "x"), lambda: store.search("x")):
        with pytest.raises(LibraryError, match="newer localq"):
            use()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE sessions SET preset = 'nonsense', plan = '[1]'",
        "UPDATE sessions SET leaf_id = 99",
        "UPDATE messages SET role = 'narrator', state = 'odd', tool_calls = '{'",
    ],
)
def test_rows_that_another_localq_wrote(store: SessionStore, home: Paths, change: str) -> None:
    id_ = talk(store, "hello", "hi")
    with Database(home.database).write() as connection:
        connection.execute(change)
    session, tree = store.opened(id_)
    assert len(tree) == 2
    assert session.title == "hello"


def test_two_stores_of_one_home_see_each_other(store: SessionStore, home: Paths) -> None:
    other = SessionStore(home)
    id_ = talk(store, "one")
    before = other.session(id_).revision
    ids = store.say(id_, store.session(id_).leaf_id, NewMessage("assistant", "1"))
    assert other.session(id_).revision > before
    assert other.opened(id_)[1][ids[0]].content == "1"


Act = Callable[[SessionStore], object]


@pytest.mark.parametrize(
    "act",
    [
        lambda store: store.rename(7, "x"),
        lambda store: store.say(7, None, NewMessage("user", "x")),
        lambda store: store.remove(7),
        lambda store: store.fork(7),
        lambda store: store.go_to(7, None),
        lambda store: store.tag(7, ["a"]),
    ],
)
def test_a_session_that_is_not_there(store: SessionStore, act: Act) -> None:
    talk(store, "x")
    with pytest.raises(LocalqError, match="no session 7"):
        act(store)
    assert not list(Path(store._locks).glob("*"))
