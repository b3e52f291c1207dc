"""What was measured with models on this machine: benchmarks and tunings."""

__all__ = ["STATEMENTS"]

# `shape` tells models apart by their tensors' names and sizes, `machine` computers by processors
# and accelerators. `setting`, `tests` and `points` are JSON. Times are seconds since 1970.
STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE benchmarks (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        measured_at REAL NOT NULL,
        model TEXT NOT NULL,
        shape TEXT NOT NULL,
        quant TEXT NOT NULL,
        machine TEXT NOT NULL,
        machine_name TEXT NOT NULL,
        engine TEXT NOT NULL,
        setting TEXT NOT NULL,
        load_seconds REAL NOT NULL,
        first_token_seconds REAL NOT NULL,
        memory_bytes INTEGER NOT NULL,
        resident_bytes INTEGER,
        tests TEXT NOT NULL
    )
    """,
    "CREATE INDEX benchmarks_of_shape ON benchmarks (shape, quant, measured_at)",
    """
    CREATE TABLE tunings (
        shape TEXT NOT NULL,
        quant TEXT NOT NULL,
        machine TEXT NOT NULL,
        engine TEXT NOT NULL,
        measured_at REAL NOT NULL,
        n_threads INTEGER NOT NULL CHECK (n_threads > 0),
        n_threads_batch INTEGER NOT NULL CHECK (n_threads_batch > 0),
        n_ubatch INTEGER CHECK (n_ubatch > 0),
        n_gpu_layers INTEGER NOT NULL,
        points TEXT NOT NULL,
        PRIMARY KEY (shape, quant, machine, engine)
    ) WITHOUT ROWID
    """,
)
