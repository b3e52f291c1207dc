"""What was measured on this machine, and plans."""

__all__ = ["STATEMENTS"]

STATEMENTS: tuple[str, ...] = ()
