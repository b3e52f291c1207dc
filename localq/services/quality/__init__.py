"""How good models are: perplexity, and how far a quantized model is from its original."""
