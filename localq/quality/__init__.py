"""How good a model's predictions are: perplexity, and how far it is from another model."""
