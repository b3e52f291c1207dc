"""Measure how fast models are here, and how they are fastest."""
