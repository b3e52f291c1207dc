"""What the chat screens are made of."""
