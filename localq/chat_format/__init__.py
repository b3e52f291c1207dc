"""What is said to a model, and how it is written down for it."""
