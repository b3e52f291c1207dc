"""What `localq fit` does: every type's size and memory before anything is downloaded."""
