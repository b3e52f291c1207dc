"""How good models were found to be: a card for each file, text and base."""

__all__ = ["STATEMENTS"]

# A card is of the file at `path` as it was: of that size, last changed then. The path is in the
# system's own bytes, which need not be UTF-8. `base` is "" where there was none, and then nothing
# is known of the divergence. Times are seconds since 1970.
STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE quality_cards (
        path BLOB NOT NULL,
        file_bytes INTEGER NOT NULL,
        file_mtime_ns INTEGER NOT NULL,
        model TEXT NOT NULL,
        quant TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        text_name TEXT NOT NULL,
        text_sha256 TEXT NOT NULL,
        text_bytes INTEGER NOT NULL,
        n_ctx INTEGER NOT NULL,
        chunks INTEGER NOT NULL,
        tokens INTEGER NOT NULL,
        whole_text INTEGER NOT NULL,
        perplexity REAL NOT NULL,
        perplexity_error REAL NOT NULL,
        base TEXT NOT NULL,
        kld REAL,
        kld_error REAL,
        same_top REAL,
        same_top_error REAL,
        ratio REAL,
        ratio_error REAL,
        engine TEXT NOT NULL,
        machine TEXT NOT NULL,
        measured_at REAL NOT NULL,
        PRIMARY KEY (path, text_sha256, n_ctx, chunks, base)
    ) WITHOUT ROWID
    """,
)
