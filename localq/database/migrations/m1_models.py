"""The models of the library and their files."""

__all__ = ["STATEMENTS"]

# `key` is the case-folded name: names that differ in capitals alone are the same model.
STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE models (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        format TEXT NOT NULL,
        quant TEXT NOT NULL,
        architecture TEXT NOT NULL,
        parameters INTEGER NOT NULL CHECK (parameters >= 0),
        size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
        path TEXT NOT NULL,
        source_repo TEXT,
        source_revision TEXT,
        created_at REAL NOT NULL,
        used_at REAL NOT NULL
    )
    """,
    """
    CREATE TABLE files (
        path TEXT PRIMARY KEY,
        model_id INTEGER NOT NULL REFERENCES models (id) ON DELETE CASCADE,
        size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX files_of_model ON files (model_id)",
)
