"""Tensor types, the mixtures of llama.cpp's file types, native codecs, and the one-pass writer."""
