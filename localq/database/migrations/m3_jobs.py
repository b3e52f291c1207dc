"""Long work, as records."""

__all__ = ["STATEMENTS"]

STATEMENTS: tuple[str, ...] = ()
