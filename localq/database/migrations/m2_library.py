"""What the library knows besides: names and notes that users gave, hashes, origins, the trash."""

__all__ = ["STATEMENTS"]

# `external` says that the files lie outside localq's folder, where they are never changed or
# deleted; `files.path` is then absolute. What hangs on a file goes and moves with it.
STATEMENTS: tuple[str, ...] = (
    "ALTER TABLE models ADD COLUMN note TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE models ADD COLUMN external INTEGER NOT NULL DEFAULT 0",
    """
    CREATE TABLE aliases (
        key TEXT PRIMARY KEY,
        alias TEXT NOT NULL,
        model_id INTEGER NOT NULL REFERENCES models (id) ON DELETE CASCADE
    ) WITHOUT ROWID
    """,
    "CREATE INDEX aliases_of_model ON aliases (model_id)",
    """
    CREATE TABLE tags (
        model_id INTEGER NOT NULL REFERENCES models (id) ON DELETE CASCADE,
        tag TEXT NOT NULL,
        PRIMARY KEY (model_id, tag)
    ) WITHOUT ROWID
    """,
    # The size, time and inode are those the file had when its content was last seen to be right.
    """
    CREATE TABLE hashes (
        path TEXT PRIMARY KEY REFERENCES files (path) ON DELETE CASCADE ON UPDATE CASCADE,
        sha256 TEXT NOT NULL CHECK (length(sha256) = 64),
        said_by TEXT NOT NULL,
        size_bytes INTEGER,
        mtime_ns INTEGER,
        inode TEXT,
        verified_at REAL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX hashes_by_content ON hashes (sha256)",
    """
    CREATE TABLE adoptions (
        path TEXT PRIMARY KEY REFERENCES files (path) ON DELETE CASCADE ON UPDATE CASCADE,
        tool TEXT NOT NULL,
        way TEXT NOT NULL,
        source TEXT NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE trash (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        key TEXT NOT NULL,
        state TEXT NOT NULL,
        removed_at REAL NOT NULL,
        entry TEXT NOT NULL
    )
    """,
)
