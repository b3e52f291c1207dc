"""What `localq recipe` does."""
