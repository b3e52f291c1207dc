"""What the library knows besides: trash, names, notes, references."""

__all__ = ["STATEMENTS"]

STATEMENTS: tuple[str, ...] = ()
