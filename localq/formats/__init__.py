"""Readers and writers of file formats that trust nothing they read."""
