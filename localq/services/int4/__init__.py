"""INT4 checkpoints: made by AWQ and GPTQ, checked, and used."""
