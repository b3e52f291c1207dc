"""Tokenizers as GGUF metadata."""

from localq.convert.vocabulary.files import TokenizerFiles

__all__ = ["TokenizerFiles"]
