"""Models that are loaded: which file, with which plan, and who uses it."""
