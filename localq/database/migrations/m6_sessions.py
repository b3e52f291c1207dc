"""Conversations: sessions, their messages as trees, what was attached, and an index of words."""

__all__ = ["STATEMENTS", "WORDS"]

# `plan`, `preset` and `tool_calls` are JSON; times are seconds since 1970. `leaf_id` is the message
# that the session goes on after; `revision` grows with every change. A message comes after the one
# it answers, so its number is higher and no circle is possible. `left_out_id` is the last message
# that the prompt of this one left out, or that a summary stands for.
# `words` is asked for beginnings of words: without an index of these, each would be merged from the
# messages of all words that begin so. It keeps no copy of the texts; localq/sessions/words.py says
# what goes in.
WORDS = """
    CREATE VIRTUAL TABLE words USING fts5 (
        text, content = '', columnsize = 0, prefix = '3 4 5 6',
        tokenize = 'unicode61 remove_diacritics 2'
    )
    """
STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE sessions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        title TEXT NOT NULL,
        title_given INTEGER NOT NULL DEFAULT 0,
        model TEXT NOT NULL,
        model_hash TEXT,
        plan TEXT NOT NULL DEFAULT '{}',
        preset TEXT NOT NULL DEFAULT '{}',
        pinned INTEGER NOT NULL DEFAULT 0,
        archived INTEGER NOT NULL DEFAULT 0,
        created_at REAL NOT NULL,
        updated_at REAL NOT NULL,
        leaf_id INTEGER,
        message_count INTEGER NOT NULL DEFAULT 0,
        revision INTEGER NOT NULL DEFAULT 0
    )
    """,
    "CREATE INDEX sessions_by_use ON sessions (archived, pinned DESC, updated_at DESC)",
    """
    CREATE TABLE session_tags (
        session_id INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
        tag TEXT NOT NULL,
        PRIMARY KEY (session_id, tag)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        session_id INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
        parent_id INTEGER CHECK (parent_id < id),
        role TEXT NOT NULL,
        content TEXT NOT NULL,
        reasoning TEXT NOT NULL DEFAULT '',
        tool_calls TEXT NOT NULL DEFAULT '[]',
        tool_call_id TEXT NOT NULL DEFAULT '',
        state TEXT NOT NULL,
        model TEXT NOT NULL DEFAULT '',
        created_at REAL NOT NULL,
        ended_at REAL,
        prompt_tokens INTEGER,
        reused_tokens INTEGER,
        generated_tokens INTEGER,
        prompt_seconds REAL,
        generate_seconds REAL,
        stop TEXT,
        left_out_id INTEGER,
        UNIQUE (session_id, id),
        FOREIGN KEY (session_id, parent_id) REFERENCES messages (session_id, id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX messages_by_parent ON messages (session_id, parent_id)",
    """
    CREATE TABLE attachments (
        message_id INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        name TEXT NOT NULL,
        content TEXT NOT NULL,
        tokens INTEGER,
        PRIMARY KEY (message_id, position)
    ) WITHOUT ROWID
    """,
    WORDS,
)
