"""Texts as vectors, and texts ranked by how well they answer a query."""
