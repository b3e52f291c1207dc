"""A small model that shows whether the engine works on this processor.

`model.gguf` has random weights in F32, Q8_0, Q4_0, Q4_K and Q6_K; `logits.f32` holds what it must
answer to TOKENS: little-endian float32, [tokens, vocabulary], computed without llama.cpp
(`tests/reference/make_canary.py`).
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["LOGITS", "MODEL", "TOKENS"]

MODEL = Path(__file__).parent / "model.gguf"
LOGITS = Path(__file__).parent / "logits.f32"
TOKENS = tuple((37 * index + 11) % 256 for index in range(40))
"""More than 32: some kernels are for batches of so many."""
