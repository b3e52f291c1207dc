"""Long work as records: what was asked for, how far it is, and how it ended."""
