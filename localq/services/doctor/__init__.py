"""What `localq doctor` does: one module for each kind of trouble."""
