"""Encoders that write ggml's very bytes several times as fast, in C for AVX2 and AVX-512.

An optional part: `build` compiles it where there is a compiler, `library` loads it, `check` has the
numbers on which it is compared with the engine's own codecs before it is trusted, and `fast` is
what quantizing asks.
"""
