"""How much memory was predicted and taken, and the plans that users saved."""

__all__ = ["STATEMENTS"]

# `model` is the case-folded name, or the path of a file that is in no library; sizes are bytes.
# `overhead` is NULL where the system does not say. `wishes` and `settings` are JSON objects.
STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE memory_loads (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        loaded_at REAL NOT NULL,
        model TEXT NOT NULL,
        engine TEXT NOT NULL,
        settings TEXT NOT NULL,
        predicted_weights INTEGER NOT NULL,
        predicted_cache INTEGER NOT NULL,
        predicted_compute INTEGER NOT NULL,
        predicted_overhead INTEGER NOT NULL,
        measured_weights INTEGER NOT NULL,
        measured_cache INTEGER NOT NULL,
        measured_compute INTEGER NOT NULL,
        measured_overhead INTEGER
    )
    """,
    """
    CREATE TABLE saved_wishes (
        model TEXT PRIMARY KEY,
        wishes TEXT NOT NULL,
        saved_at REAL NOT NULL
    ) WITHOUT ROWID
    """,
)
