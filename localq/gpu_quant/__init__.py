"""AWQ and GPTQ: INT4 checkpoints by maintained libraries, in environments of their own.

torch never enters localq's process: `children/` are scripts that an environment's Python runs.
"""
