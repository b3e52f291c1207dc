"""What is asked of models that are there: found, imported, verified, removed, measured on disk."""
