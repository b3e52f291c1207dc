"""What was measured with models on this machine: benchmarks and tunings."""

__all__ = ["STATEMENTS"]

STATEMENTS: tuple[str, ...] = ()
