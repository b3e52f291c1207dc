"""How much memory was predicted and taken, and the plans that users saved."""

__all__ = ["STATEMENTS"]

STATEMENTS: tuple[str, ...] = ()
