"""Long work, as records."""

__all__ = ["STATEMENTS"]

# AUTOINCREMENT: the number of a job that was cleared is never another's. `key` stands for what
# is asked for; times are seconds since 1970; `speed` is units per second.
STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        title TEXT NOT NULL,
        key TEXT NOT NULL,
        request TEXT NOT NULL,
        agreed INTEGER NOT NULL,
        detached INTEGER NOT NULL,
        state TEXT NOT NULL,
        stage TEXT NOT NULL DEFAULT '',
        done INTEGER NOT NULL DEFAULT 0,
        total INTEGER NOT NULL DEFAULT 0,
        unit TEXT NOT NULL DEFAULT 'bytes',
        speed REAL,
        created_at REAL NOT NULL,
        started_at REAL,
        updated_at REAL NOT NULL,
        ended_at REAL,
        pid INTEGER,
        stop_asked INTEGER NOT NULL DEFAULT 0,
        error TEXT,
        hint TEXT,
        result TEXT
    )
    """,
    "CREATE INDEX jobs_by_key ON jobs (key)",
)
