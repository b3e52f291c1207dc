"""What llama.cpp's own tools make of known checkpoints."""
