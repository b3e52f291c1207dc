"""What `localq pull` and `localq search` do."""
